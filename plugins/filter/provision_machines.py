# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: provision_machines
short_description: The machines of the inventory, as the modules of provisioning want them
version_added: 0.2.0
author: Kubestead contributors (@kubestead)
description:
  - Makes of the variables of hosts what these modules need to know, a dictionary for each. For V(plan) a host
    without C(machine_mac) is left out.
positional: _input
options:
  _input:
    description: The variables of each host.
    type: list
    elements: dict
    required: true
  what:
    description: V(plan) for what is done with them, V(ssh) for what ssh calls them.
    type: str
    choices: [plan, ssh]
    default: plan
"""

EXAMPLES = r"""
- name: Show them
  ansible.builtin.debug:
    msg: "{{ groups['all'] | map('extract', hostvars) | kubestead.homelab.provision_machines }}"
"""

RETURN = r"""
_value:
  description: A dictionary for each machine.
  type: list
  elements: dict
"""

import typing as t

from ansible.errors import AnsibleFilterError

Variables = t.Mapping[str, t.Any]

_SEEN = ("answers", "said")


def _plan(host: Variables) -> dict[str, t.Any]:
    seen = host.get("kubestead_seen") or {}
    return {
        "name": host["inventory_hostname"],
        "mac": host["machine_mac"],
        "entry": dict(host.get("machine") or {}),
        "seen": {key: seen[key] for key in _SEEN if key in seen},
    }


def _ssh(host: Variables) -> dict[str, t.Any]:
    names = (host.get("ansible_host"), host["inventory_hostname"], host.get("machine_ip"))
    return {
        "machine": host.get("machine_mac"),
        "names": list(dict.fromkeys(str(name) for name in names if name)),
        "port": int(host.get("ansible_port") or 22),
    }


def provision_machines(hosts: t.Any, what: str = "plan") -> list[dict[str, t.Any]]:
    """Return a dictionary for each machine."""
    make = {"plan": _plan, "ssh": _ssh}.get(what)
    if make is None or isinstance(hosts, (str, t.Mapping)):
        raise AnsibleFilterError("provision_machines wants the variables of hosts in a list, and plan or ssh")
    return [make(host) for host in hosts if what == "ssh" or host.get("machine_mac")]


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return them by name."""
        return {"provision_machines": provision_machines}
