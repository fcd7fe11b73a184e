# SPDX-License-Identifier: GPL-3.0-or-later
"""Which objects an apply would change, as the API tells by a dry run."""

from __future__ import annotations

import json
from typing import Any

from kubestead.model.applying import APPLY, Applying
from kubestead.model.kubeconfig import Answer

CONFIG = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "cfg", "namespace": "net"},
    "data": {"mtu": "1450"},
}
ROLE = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "flannel"}}
RESOURCES = {
    "/api/v1": [
        {"name": "configmaps", "kind": "ConfigMap", "namespaced": True},
        {"name": "pods/status", "kind": "Pod", "namespaced": True},
    ],
    "/apis/rbac.authorization.k8s.io/v1": [
        {"name": "clusterroles", "kind": "ClusterRole", "namespaced": False}
    ],
}
OURS = [{"manager": "kubestead", "operation": "Apply"}]


class Cluster:
    """Has objects by path, and answers a dry run with what they would be."""

    def __init__(self, managers: list[Any] = OURS, **would: Any) -> None:
        self.managers, self.would = managers, would
        self.there: dict[str, Any] = {}
        self.asked: list[str] = []

    def request(
        self, path: str, method: str = "GET", body: Any = None, content_type: str = "application/json"
    ) -> Answer:
        self.asked.append(f"{method} {path}")
        if path in RESOURCES:
            return Answer(200, json.dumps({"resources": RESOURCES[path]}))
        place, _, query = path.partition("?")
        if method == "PATCH":
            assert (content_type, query) == (APPLY, "fieldManager=kubestead&dryRun=All")
        if place not in self.there:
            return Answer(404, "not here")
        found = json.loads(json.dumps(self.there[place]))
        found["metadata"]["managedFields"] = [*self.managers, {"time": method}]
        return Answer(200, json.dumps({**found, **self.would} if method == "PATCH" else found))


def cluster(*managers: Any, **would: Any) -> Cluster:
    one = Cluster(list(managers) or OURS, **would)
    one.there = {
        "/api/v1/namespaces/net/configmaps/cfg": CONFIG,
        "/apis/rbac.authorization.k8s.io/v1/clusterroles/flannel": ROLE,
    }
    return one


def test_what_is_as_it_should_be_is_left() -> None:
    api = cluster()
    assert Applying(api).would_change([CONFIG, ROLE, CONFIG]) == []
    assert api.asked.count("GET /api/v1") == 1, "kinds are asked for once"
    assert all(asked.startswith("GET") or asked.endswith("dryRun=All") for asked in api.asked)


def test_what_would_become_another_is_named() -> None:
    assert Applying(cluster(data={"mtu": "1400"})).would_change([CONFIG]) == ["ConfigMap/cfg"]


def test_what_somebody_else_has_made_is_applied() -> None:
    assert Applying(cluster({"manager": "kubectl"})).would_change([CONFIG]) == ["ConfigMap/cfg"]


def test_what_is_not_there_or_of_no_known_kind_is_named() -> None:
    gone = {**CONFIG, "metadata": {"name": "other", "namespace": "net"}}
    strange = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}}
    assert Applying(cluster()).would_change([gone, strange]) == ["ConfigMap/other", "Pod/x"]
