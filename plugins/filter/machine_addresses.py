# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter machine_addresses: names and addresses of machines, for /etc/hosts."""

from __future__ import annotations

DOCUMENTATION = r"""
name: machine_addresses
short_description: Names and addresses of machines, for /etc/hosts
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Takes each machine's own address (C(machine_ip)), else the one that it is reached by (C(ansible_host)).
  - A machine of which only a name is known is left out, and so is a name that is none for DNS.
positional: _input, names
options:
  _input:
    description: The variables of hosts (C(hostvars)).
    type: list
    elements: dict
    required: true
  names:
    description: The machines that are meant.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: The names of all machines
  kubestead.homelab.node_settings:
    hosts: "{{ seen | kubestead.homelab.machine_addresses(groups['worker']) }}"
  vars:
    seen: "{{ groups['all'] | map('extract', hostvars) }}"
"""

RETURN = r"""
_value:
  description: The machines, each with C(name) and C(address), in the order of O(names).
  type: list
  elements: dict
"""

import ipaddress
import typing as t

from ansible_collections.kubestead.homelab.plugins.module_utils.node_names import name_problem


def _address(variables: t.Mapping[str, t.Any]) -> str:
    for name in ("machine_ip", "ansible_host"):
        try:
            return str(ipaddress.ip_address(str(variables.get(name, ""))))
        except ValueError:
            continue
    return ""


def machine_addresses(
    hosts: t.Iterable[t.Mapping[str, t.Any]], names: t.Sequence[str]
) -> list[dict[str, str]]:
    """Name and address of each machine that has one."""
    found = {str(host.get("inventory_hostname")): _address(host) for host in hosts}
    return [
        {"name": name.lower(), "address": found[name]}
        for name in names
        if found.get(name) and not name_problem(name.lower())
    ]


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """The filters of this file."""
        return {"machine_addresses": machine_addresses}
