# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter pxe_server_machines: machines of the inventory as reservations."""

from __future__ import annotations

DOCUMENTATION = r"""
name: pxe_server_machines
short_description: Machines of the inventory as reservations of a PXE server
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Takes of registry entries what the role P(kubestead.homelab.pxe_server#role) wants for its
    C(pxe_server_machines).
positional: _input
options:
  _input:
    description: The registry entries, the variable C(machine) of each host.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Show the reservations
  ansible.builtin.debug:
    msg: "{{ [machine] | kubestead.homelab.pxe_server_machines }}"
"""

RETURN = r"""
_value:
  description: The machines with C(mac), C(hostname) and C(ip), those that have a MAC.
  type: list
  elements: dict
"""

import typing as t

from ..module_utils.pxe_plan import pxe_server_machines


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """The filters of this file."""
        return {"pxe_server_machines": pxe_server_machines}
