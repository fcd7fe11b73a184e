# SPDX-License-Identifier: GPL-3.0-or-later
"""Which pod network is there, and which pods it does not know."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kubestead.model import pod_network
from kubestead.model.kubeconfig import Answer


class Cluster:
    """Answers for the paths that it has, and notes what is deleted."""

    def __init__(self, *there: str, status: int = 404, **items: Any) -> None:
        self.there, self.status, self.items = set(there), status, items
        self.deleted: list[str] = []

    def request(
        self, path: str, method: str = "GET", body: Any = None, content_type: str = "application/json"
    ) -> Answer:
        if method == "DELETE":
            self.deleted.append(path)
            return Answer(200, "{}")
        name = path.rsplit("/", 1)[-1]
        if name in self.items:
            return Answer(200, json.dumps({"items": self.items[name]}))
        return Answer(200, "{}") if path in self.there else Answer(self.status, "not here")


def pod(namespace: str, name: str, *, host: bool = False, phase: str = "Running", **more: Any) -> Any:
    return {
        "metadata": {"namespace": namespace, "name": name, **more},
        "spec": {"hostNetwork": True} if host else {},
        "status": {"phase": phase, "podIP": "10.244.0.5"},
    }


def test_what_is_there() -> None:
    flannel = Cluster(pod_network.MARKS["flannel"], pod_network.KUBE_PROXY)
    found = pod_network.look(flannel)
    assert (found.networks, found.kube_proxy, found.secrets, found.endpoint) == (["flannel"], True, [], "")
    assert pod_network.look(Cluster()).networks == []


def test_how_nodes_reach_the_api_is_what_kubeadm_noted() -> None:
    noted = "clusters:\n- cluster:\n    server: https://10.0.0.9:8443\n  name: x\n"

    class Noted(Cluster):
        def request(self, path: str, *rest: Any, **more: Any) -> Answer:
            if path == pod_network.CLUSTER_INFO:
                return Answer(200, json.dumps({"data": {"kubeconfig": noted}}))
            return super().request(path, *rest, **more)

    assert pod_network.look(Noted()).endpoint == "10.0.0.9:8443"


def test_the_names_of_certificates_that_are_there() -> None:
    path = "/api/v1/namespaces/kube-system/secrets/cilium-ca"
    found = pod_network.look(Cluster(pod_network.MARKS["cilium"], path))
    assert (found.networks, found.secrets, found.kube_proxy) == (["cilium"], ["cilium-ca"], False)


def test_an_api_that_does_not_answer_is_no_cluster_without_a_network() -> None:
    with pytest.raises(pod_network.PodNetworkError, match="no answer: not here"):
        pod_network.look(Cluster(status=0))


def test_pods_from_before_are_restarted_and_no_others() -> None:
    pods = [
        pod("kube-system", "coredns-1"),
        pod("kube-system", "kube-proxy", host=True),
        pod("default", "known"),
        pod("default", "done", phase="Succeeded"),
        pod("default", "going", deletionTimestamp="2026-01-01T00:00:00Z"),
    ]
    cluster = Cluster(pods=pods, ciliumendpoints=[pod("default", "known")])
    found = pod_network.find_unmanaged(cluster)
    assert found == [("kube-system", "coredns-1")]
    pod_network.restart(cluster, found)
    assert cluster.deleted == ["/api/v1/namespaces/kube-system/pods/coredns-1"]
