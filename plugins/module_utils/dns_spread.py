# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep the cluster's DNS on more than one node.

Whichever node of a new cluster is ready first gets every pod of CoreDNS. They prefer nodes apart, but nothing
moves them there: when that node is lost, no name is known for the five minutes until they are given up.
"""

from __future__ import annotations

import time
import typing as t

from .pod_network import Api, PodNetworkError, items, restart

NAMESPACE = "kube-system"
DEPLOYMENT = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/coredns"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=k8s-app%3Dkube-dns"
NODES = "/api/v1/nodes"
#: What keeps pods off a node that says it is ready, until its network is.
BEGINNING = (
    "node.cilium.io/agent-not-ready",
    "node.kubernetes.io/network-unavailable",
    "node.kubernetes.io/not-ready",
)
#: How often pods are made anew that come back together.
ATTEMPTS = 3

Object = t.Mapping[str, t.Any]
Pod = tuple[str, str]  # namespace, name


def _ready(thing: Object) -> bool:
    conditions = (thing.get("status") or {}).get("conditions") or []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _tolerated(taint: Object, tolerations: t.Iterable[Object]) -> bool:
    """Whether a pod tolerates the taint, by Kubernetes' rules of taints and tolerations."""
    return any(
        one.get("effect") in (None, "", taint.get("effect"))
        and one.get("key") in (None, "", taint.get("key"))
        and (one.get("operator") == "Exists" or one.get("value", "") == taint.get("value", ""))
        for one in tolerations
    )


def usable_nodes(nodes: t.Iterable[Object], spec: Object, *, gladly: bool = False) -> set[str]:
    """Return the names of the nodes that are ready and take pods of this specification.

    gladly: without those that would rather not have them (`PreferNoSchedule`).
    """
    wanted = (spec.get("nodeSelector") or {}).items()
    tolerations = spec.get("tolerations") or []

    def takes(taint: Object) -> bool:
        prefers = taint.get("effect") == "PreferNoSchedule" and not gladly
        return prefers or _tolerated(taint, tolerations)

    return {
        node["metadata"]["name"]
        for node in nodes
        if _ready(node)
        and wanted <= (node["metadata"].get("labels") or {}).items()
        and all(takes(taint) for taint in node["spec"].get("taints") or [])
    }


def to_move(pods: t.Iterable[Object], nodes: t.Iterable[Object], spec: Object) -> list[Pod]:
    """Return the pods to be made anew, by namespace and name.

    All but one where a single node has them all and another would gladly take some; and all where none of
    their nodes is there any more. None where the pods do not prefer nodes apart: they would come back.
    """
    nodes = list(nodes)
    affinity = spec.get("affinity") or {}
    apart = affinity.get("podAntiAffinity") or spec.get("topologySpreadConstraints")
    homes: dict[str, list[Pod]] = {}
    for pod in sorted(pods, key=lambda one: (not _ready(one), one["metadata"]["name"])):
        who = (pod["metadata"]["namespace"], pod["metadata"]["name"])
        homes.setdefault(pod["spec"]["nodeName"], []).append(who)
    if not apart or not usable_nodes(nodes, spec) - set(homes):
        return []
    # A node that takes no new pods goes on with those that it has: it is not lost.
    if not set(homes) & {node["metadata"]["name"] for node in nodes if _ready(node)}:
        return [pod for home in homes for pod in homes[home]]
    if len(homes) > 1 or not usable_nodes(nodes, spec, gladly=True) - set(homes):
        return []
    return next(iter(homes.values()))[1:]


class Dns:
    """CoreDNS as kubeadm deploys it."""

    def __init__(self, api: Api) -> None:
        """Ask what is to run; a cluster without that deployment has nothing to move."""
        answer = api.request(DEPLOYMENT)
        if not answer.ok and answer.status != 404:
            raise PodNetworkError(f"{DEPLOYMENT}: {answer.status or 'no answer'}: {answer.body[:300]}")
        self.api = api
        self.wanted = ((answer.json() or {}).get("spec") or {}) if answer.ok else {}
        self.pods: t.Sequence[Object] = []
        self.nodes: t.Sequence[Object] = []

    def settled(self) -> bool:
        """Ask again; say whether each pod has a node, and each node that is ready has left its beginning."""
        if not self.wanted:
            return True
        self.nodes = items(self.api, NODES)
        taints = [taint for node in self.nodes if _ready(node) for taint in node["spec"].get("taints") or []]
        there = [pod for pod in items(self.api, PODS) if "deletionTimestamp" not in pod["metadata"]]
        self.pods = [pod for pod in there if pod["spec"].get("nodeName")]
        begun = not any(taint.get("key") in BEGINNING for taint in taints)
        return begun and len(there) == len(self.pods) >= int(self.wanted.get("replicas", 1))

    def to_move(self) -> list[Pod]:
        """Return the pods to be made anew; a single pod is where it is."""
        if self.wanted.get("replicas", 1) < 2 or not self.pods:
            return []
        return to_move(self.pods, self.nodes, self.wanted["template"]["spec"])


def spread(dns: Dns, seconds: float, pause: t.Callable[[float], None] = time.sleep) -> list[Pod]:
    """Delete pods that are together until what comes in their place is not; return those that were deleted.

    seconds: how long to wait and to try. A node that has just become ready may not get any for a moment yet.
    """
    until = time.monotonic() + seconds
    moved: list[Pod] = []
    for attempt in range(ATTEMPTS):
        while not dns.settled() and time.monotonic() < until:
            pause(0.5)
        pods = dns.to_move()
        if not pods or (attempt and time.monotonic() >= until):
            break
        if attempt:
            pause(3)
        restart(dns.api, pods)
        moved += pods
    return moved
