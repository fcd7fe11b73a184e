# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: acting_control_plane
short_description: Which control plane acts for the others
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - The first that answers for the cluster. When none does, the first that has the cluster's data; when there
    is none, the one that has claimed the cluster, else the first.
  - Control planes of which nothing is known were not asked, or did not answer, and are passed over.
positional: _input, hostvars
options:
  _input:
    description: The control planes, in their order.
    type: list
    elements: str
    required: true
  hostvars:
    description: The variables of all hosts. Looked at is what M(kubestead.homelab.kubeadm_facts) said,
      registered as C(kubestead_node), and on the first what M(kubestead.homelab.cluster_claim) said,
      registered as C(kubestead_claim).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Who answers
  ansible.builtin.debug:
    msg: "{{ groups['control_plane'] | kubestead.homelab.acting_control_plane(hostvars) }}"
"""

RETURN = r"""
_value:
  description: The host; the first of the list when nothing is known of any.
  type: str
"""

import typing as t

from ..module_utils.acting_control_plane import acting_control_plane as choose


def acting_control_plane(hosts: t.Sequence[str], hostvars: t.Mapping[str, t.Any]) -> str:
    """Return the host that acts."""
    facts, preferred = {}, ""
    for host in filter(hostvars.__contains__, hosts):
        variables = hostvars[host]
        asked = variables.get("kubestead_node")
        if asked and asked.get("kubeadm"):
            facts[host] = asked["kubeadm"]
        if host == hosts[0]:
            claim = (variables.get("kubestead_claim") or {}).get("claim") or {}
            preferred = claim.get("holder") or ""
    return choose(facts, preferred) or next(iter(hosts), "")


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return them by name."""
        return {"acting_control_plane": acting_control_plane}
