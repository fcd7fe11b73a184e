# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which control plane acts for the others.

Playbooks ask this for nearly each task, in a process of its own each time, where Ansible compiles what is
imported anew: so nothing else of ours is imported here.
"""

from __future__ import annotations

import typing as t


def acting_control_plane(facts: t.Mapping[str, t.Mapping[str, t.Any]], preferred: str = "") -> str:
    """Return which control plane acts for the others: the first that answers for the cluster.

    `facts` are those of the control planes that could be asked, by host, in their order. When none answers:
    the first that has the cluster's data; when there is none: the preferred one, else the first.
    """

    def ready(host: str) -> bool:
        return bool((facts[host].get("cluster") or {}).get("answers"))

    def member(host: str) -> bool:
        return facts[host].get("state") == "control_plane" and facts[host].get("joining") != "begun"

    def data(host: str) -> bool:
        return bool(facts[host].get("etcd_data")) or facts[host].get("initialisation") == "begun"

    for suits in (ready, member, data, lambda host: host == preferred):
        found = next((host for host in facts if suits(host)), "")
        if found:
            return found
    return next(iter(facts), "")
