# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter pxe_server_plan: what a PXE server serves, checked as a whole."""

from __future__ import annotations

DOCUMENTATION = r"""
name: pxe_server_plan
short_description: What a PXE server serves, checked as a whole
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Completes the settings of the role P(kubestead.homelab.pxe_server#role) from a machine's facts, brings
    them into one form, and finds everything that is wrong with them.
positional: _input, facts
options:
  _input:
    description: The settings, under the role's names without C(pxe_server_).
    type: dict
    required: true
  facts:
    description: The server's facts, with those of its network interfaces.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: See what is wrong with a range
  ansible.builtin.debug:
    msg: >-
      {{ ({'dhcp': 'dnsmasq', 'range': ['10.0.0.200', '10.0.1.9'], 'router': '10.0.0.1', 'lease_time': 43200,
           'machines': []} | kubestead.homelab.pxe_server_plan(ansible_facts)).problems }}
"""

RETURN = r"""
_value:
  description: The settings in one form, with C(problems), a list of sentences; it is empty if all is well.
  type: dict
"""

import typing as t

from ..module_utils.pxe_plan import pxe_server_plan


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """The filters of this file."""
        return {"pxe_server_plan": pxe_server_plan}
