# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: is_worker_of
short_description: Whether a machine is a worker of a cluster, and well
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Decides from facts that are known already what M(kubestead.homelab.kubeadm_join) would find out by
    going to the machine.
positional: _input, cluster, name
options:
  _input:
    description: RV(kubestead.homelab.kubeadm_facts#module:kubeadm) of the machine.
    type: dict
    required: true
  cluster:
    description: The same of a control plane.
    type: dict
    required: true
  name:
    description: The name that its node has to have.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Nothing is to be done
  ansible.builtin.debug:
    msg: "{{ worker.kubeadm | kubestead.homelab.is_worker_of(control_plane.kubeadm, inventory_hostname) }}"
"""

RETURN = r"""
_value:
  description: False also where anything is to be done, or mended.
  type: bool
"""

import typing as t

from ..module_utils.node_plan import NOTHING, plan_join
from ..module_utils.node_state import NodeState


def is_worker_of(node: t.Mapping[str, t.Any], cluster: t.Mapping[str, t.Any], name: str) -> bool:
    """Return whether nothing is left to be done for it to be one."""
    view = cluster.get("cluster") or {}
    if not view.get("answers"):
        return False
    known = NodeState.of(node)
    decision = plan_join(
        name, name, known, {"ca_pin": cluster.get("ca_pin", ""), "nodes": view.get("nodes", [])}
    )
    return decision.action == NOTHING and known.kubelet.healthy and known.member is True


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return them by name."""
        return {"is_worker_of": is_worker_of}
