# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter installers_needed: which installers the machines of a registry need."""

from __future__ import annotations

DOCUMENTATION = r"""
name: installers_needed
short_description: Which distributions' installers the machines of a registry need
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Names the installers of those machines that are installed by them, not by an image.
positional: _input, method
options:
  _input:
    description: The registry entries, the variable C(machine) of each host.
    type: list
    elements: dict
    required: true
  method:
    description: How a machine is installed whose entry does not say it.
    type: str
    default: image
    choices: [image, installer]
"""

EXAMPLES = r"""
- name: Show them
  ansible.builtin.debug:
    msg: "{{ [machine] | kubestead.homelab.installers_needed('installer') }}"
"""

RETURN = r"""
_value:
  description: Their names, such as C(debian-13-amd64), each once.
  type: list
  elements: str
"""

import typing as t

from ..module_utils.installers_needed import installers_needed


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """The filters of this file."""
        return {"installers_needed": installers_needed}
