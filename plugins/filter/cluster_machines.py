# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: cluster_machines
short_description: The machines of a kubeadm cluster, by what they are in it
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - A machine that is in several groups is what comes first of C(control_plane), C(worker), C(compute).
  - Machines of the groups C(rke2) and C(k3s) are clusters of their own, and C(others) here.
positional: _input, kinds
options:
  _input:
    description: The inventory's C(groups).
    type: dict
    required: true
  kinds:
    description: Which machines, in this order. Each of C(control_plane), C(worker), C(compute), C(others).
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Those that are nodes of the cluster
  ansible.builtin.debug:
    msg: "{{ groups | kubestead.homelab.cluster_machines('control_plane', 'worker') }}"
"""

RETURN = r"""
_value:
  description: Their names in the inventory, in the order of the groups.
  type: list
  elements: str
"""

import typing as t

OTHERS = "others"
OTHER_CLUSTERS = ("rke2", "k3s")
#: What a machine is, the first that it is a member of.
KINDS = ("control_plane", "worker", "compute")


def cluster_machines(groups: t.Mapping[str, t.Sequence[str]], *kinds: str) -> list[str]:
    """Return the machines that are of these kinds."""
    if unknown := [kind for kind in kinds if kind not in (*KINDS, OTHERS)]:
        raise ValueError(
            f"cluster_machines knows {', '.join((*KINDS, OTHERS))}, and not {', '.join(unknown)}"
        )
    others = [name for group in OTHER_CLUSTERS for name in groups.get(group, ())]
    found, taken = {OTHERS: others}, set(others)
    for kind in KINDS:
        found[kind] = [name for name in groups.get(kind, ()) if name not in taken]
        taken.update(found[kind])
    return [name for kind in kinds for name in found[kind]]


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return them by name."""
        return {"cluster_machines": cluster_machines}
