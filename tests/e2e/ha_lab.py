# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab of several control planes and a worker, without a server, for the tests that take some away."""

from __future__ import annotations

import json

from tests.e2e.cluster_lab import ClusterLab, changes, eventually, trips

__all__ = [
    "CONTROL_PLANES",
    "FIRST",
    "NODES",
    "SECOND",
    "THIRD",
    "VIRTUAL_ADDRESS",
    "WORKER",
    "HighlyAvailable",
    "changes",
    "trips",
]

CONTROL_PLANES = {"ha-cp-1": "10.77.0.11", "ha-cp-2": "10.77.0.12", "ha-cp-3": "10.77.0.13"}
WORKERS = {"ha-worker-1": "10.77.0.21"}
VIRTUAL_ADDRESS = "10.77.0.99"

FIRST, SECOND, THIRD = CONTROL_PLANES
[WORKER] = WORKERS
NODES = {*CONTROL_PLANES, *WORKERS}


class HighlyAvailable(ClusterLab):
    """Three control planes behind a virtual address."""

    def __init__(self, name: str = "ha") -> None:
        super().__init__(name, CONTROL_PLANES, WORKERS, control_plane_endpoint_vip=VIRTUAL_ADDRESS)

    def sees_lost(self, asked: str, node: str) -> bool:
        """Whether the others say that a node is gone; while the shared address moves nobody says anything."""
        try:
            return not self.nodes(asked)[node]
        except AssertionError:
            return False

    def dns_nodes(self, asked: str) -> set[str]:
        """The nodes that the pods of the cluster's DNS are on."""
        which = ["-l", "k8s-app=kube-dns", "-o", "jsonpath={.items[*].spec.nodeName}"]
        return set(self.kubectl(asked, "get", "pods", "-n", "kube-system", *which).split())

    def crowd_dns(self, node: str) -> None:
        """Put every pod of the cluster's DNS on one node."""
        others = sorted(NODES - {node})
        self.kubectl(SECOND, "cordon", *others)
        self.kubectl(SECOND, "delete", "pods", "-n", "kube-system", "-l", "k8s-app=kube-dns")
        assert eventually(lambda: self.dns_nodes(SECOND) == {node})
        self.kubectl(SECOND, "uncordon", *others)

    def members(self, asked: str) -> dict[str, bool]:
        """The members of etcd, and whether each has a vote."""
        pki = "/etc/kubernetes/pki"
        who = ["--cert", f"{pki}/apiserver-etcd-client.crt", "--key", f"{pki}/apiserver-etcd-client.key"]
        url = "https://127.0.0.1:2379/v3/cluster/member/list"
        answer = self.on(
            asked, "curl", "--silent", "--cacert", f"{pki}/etcd/ca.crt", *who, "--data", "{}", url
        )
        return {one["name"]: not one.get("isLearner") for one in json.loads(answer)["members"]}
