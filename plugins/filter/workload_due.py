# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: workload_due
short_description: Whether it is time to let a cluster carry work
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - With V(auto), when this run has changed a node or the pod network, or when the run has no phase that could
    have done so. Otherwise a run that changes nothing would spend most of its time with it.
positional: _input
options:
  _input:
    description: The variables of the cluster's hosts, with what the phases of this run registered.
    type: list
    elements: dict
    required: true
  mode:
    description: When it is done.
    type: str
    choices: [auto, always, never]
    default: auto
"""

EXAMPLES = r"""
- name: Let it carry work
  ansible.builtin.include_role:
    name: kubestead.homelab.cni
    tasks_from: verify
  when: groups['kubeadm'] | map('extract', hostvars) | kubestead.homelab.workload_due('auto')
"""

RETURN = r"""
_value:
  description: Whether it is time.
  type: bool
"""

import typing as t

from ansible.errors import AnsibleFilterError

#: What a host has after phases that change the cluster.
RESULTS = ("kubeadm_init_result", "kubeadm_join_result", "cni_result")


def workload_due(hosts: t.Iterable[t.Mapping[str, t.Any]], mode: str = "auto") -> bool:
    """Tell whether it is time."""
    if mode not in ("auto", "always", "never"):
        raise AnsibleFilterError(f"cluster_check_workload is {mode!r}, expected auto, always or never")
    if mode != "auto":
        return mode == "always"
    results = [host[name] for host in hosts for name in RESULTS if name in host]
    return not results or any(result.get("changed") for result in results)


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return them by name."""
        return {"workload_due": workload_due}
