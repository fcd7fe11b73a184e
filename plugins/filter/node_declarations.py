# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: node_declarations
short_description: What the inventory declares of labels and taints
version_added: 0.3.0
author: Kubestead contributors (@kubestead)
description:
  - Takes of each host the variables C(node_labels), C(node_taints) and C(machine_features), and makes of them
    what M(kubestead.homelab.node_labels) wants.
positional: _input
options:
  _input:
    description: The variables of each host.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Nodes are labelled as declared
  kubestead.homelab.node_labels:
    nodes: "{{ groups.worker | map('extract', hostvars) | kubestead.homelab.node_declarations }}"
"""

RETURN = r"""
_value:
  description: Labels, taints and features, by the name of the node.
  type: dict
"""

import typing as t

from ansible.errors import AnsibleFilterError


def node_declarations(hosts: t.Any) -> dict[str, dict[str, t.Any]]:
    """Return labels, taints and features by node."""
    if isinstance(hosts, (str, t.Mapping)):
        raise AnsibleFilterError("node_declarations wants the variables of hosts in a list")
    return {
        str(
            host.get("kubeadm_join_node_name")
            or host.get("kubeadm_init_node_name")
            or host["inventory_hostname"]
        ): {
            "labels": dict(host.get("node_labels") or {}),
            "taints": list(host.get("node_taints") or []),
            "features": list(host.get("machine_features") or []),
        }
        for host in hosts
    }


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return them by name."""
        return {"node_declarations": node_declarations}
