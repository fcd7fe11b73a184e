# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: provision_report
short_description: What has become of each machine, as a list with ticks
version_added: 0.2.0
author: Kubestead contributors (@kubestead)
description:
  - Brings together, a line a machine, what C(playbooks/provision.yml) has found out.
positional: _input
options:
  _input:
    description: The variables of each host.
    type: list
    elements: dict
    required: true
  plan:
    description: The result of M(kubestead.homelab.provision_plan).
    type: dict
    required: true
  reasons:
    description: Why machines did not come to be installed, by MAC address.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Show the list
  ansible.builtin.debug:
    msg: "{{ names | map('extract', hostvars) | kubestead.homelab.provision_report(plan, waited.reasons) }}"
"""

RETURN = r"""
_value:
  description: The lines; they begin with V(✔), with V(-) for a machine that was left alone, or with V(✘).
  type: list
  elements: str
"""

import typing as t

from ansible.errors import AnsibleFilterError

Variables = t.Mapping[str, t.Any]


def _line(host: Variables, plan: Variables, reasons: Variables) -> str:
    name, proof = host["inventory_hostname"], host.get("kubestead_proof")
    if name in plan["left"]:
        return f"- {name}: {plan['left'][name]}"
    if proof and not proof.get("failed") and not proof.get("skipped") and not proof.get("unreachable"):
        new = ", newly installed" if name in plan["wait"] else ""
        return f"✔ {name}: runs from {proof['root']['source']}{new}"
    for result in (host.get("kubestead_power"), host.get("kubestead_connected"), proof):
        if result and result.get("failed"):
            return f"✘ {name}: {result.get('msg')}"
    return f"✘ {name}: {reasons.get(host['machine_mac']) or 'it could not be reached'}"


def provision_report(hosts: t.Any, plan: t.Any, reasons: t.Any = None) -> list[str]:
    """Return the lines of the list."""
    if isinstance(hosts, (str, t.Mapping)) or not isinstance(plan, t.Mapping):
        raise AnsibleFilterError("provision_report wants the variables of hosts in a list, and the plan")
    return [_line(host, plan, reasons or {}) for host in hosts if host.get("machine_mac")]


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return them by name."""
        return {"provision_report": provision_report}
