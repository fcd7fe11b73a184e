# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: joined_nodes
short_description: Machines that have joined a cluster, and are well
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - What a machine's join has said in this run counts, where it was gone to; else what was asked before.
positional: _input, cluster
options:
  _input:
    description: The variables of the machines (C(hostvars)).
    type: list
    elements: dict
    required: true
  cluster:
    description: RV(kubestead.homelab.kubeadm_facts#module:kubeadm) of a control plane.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Who is there
  ansible.builtin.debug:
    msg: "{{ machines | kubestead.homelab.joined_nodes(control_plane.kubeadm) }}"
  vars:
    machines: "{{ groups['worker'] | map('extract', hostvars) }}"
"""

RETURN = r"""
_value:
  description: Their names in the inventory.
  type: list
  elements: str
"""

import typing as t

from .is_worker_of import is_worker_of

Variables = t.Mapping[str, t.Any]


def _is_well(machine: Variables, cluster: Variables) -> bool:
    joined = machine.get("kubeadm_join_result")
    if joined is not None:
        return bool(joined.get("kubeadm", {}).get("kubelet", {}).get("healthy"))
    asked = machine.get("kubestead_node") or {}
    name = machine.get("kubeadm_join_node_name") or machine["inventory_hostname"]
    return "kubeadm" in asked and is_worker_of(asked["kubeadm"], cluster, name)


def joined_nodes(machines: t.Iterable[Variables], cluster: Variables) -> list[str]:
    """Return the names of those that have joined and are well."""
    return [machine["inventory_hostname"] for machine in machines if _is_well(machine, cluster)]


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return them by name."""
        return {"joined_nodes": joined_nodes}
