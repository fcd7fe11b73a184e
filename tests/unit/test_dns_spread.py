# SPDX-License-Identifier: GPL-3.0-or-later
"""Which pods of the cluster's DNS are made anew, so that one node less leaves some."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from kubestead.model import dns_spread
from kubestead.model.dns_spread import Dns, to_move, usable_nodes
from kubestead.model.kubeconfig import Answer
from kubestead.model.pod_network import PodNetworkError

CONTROL_PLANE = {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}
SPEC = {
    "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100}]}},
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "CriticalAddonsOnly", "operator": "Exists"}, CONTROL_PLANE],
}


def node(name: str, *taints: Mapping[str, str], ready: str = "True", system: str = "linux") -> Any:
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/os": system, "more": "x"}},
        "spec": {"taints": list(taints)} if taints else {},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }


def pod(name: str, home: str | None, ready: str = "True", **more: Any) -> Any:
    return {
        "metadata": {"namespace": "kube-system", "name": name, **more},
        "spec": {"nodeName": home} if home else {},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }


def moved(pods: list[Any], *nodes: Any, spec: Mapping[str, Any] = SPEC) -> list[str]:
    return [name for _namespace, name in to_move(pods, nodes, spec)]


def test_one_of_two_leaves_the_node_that_has_both() -> None:
    assert moved([pod("b", "cp-1"), pod("a", "cp-1")], node("cp-1", CONTROL_PLANE), node("w-1")) == ["b"]


def test_the_one_that_works_stays() -> None:
    pods = [pod("a", "w-1", ready="False"), pod("b", "w-1"), pod("c", "w-1")]
    assert moved(pods, node("w-1"), node("w-2")) == ["c", "a"]


def test_on_two_nodes_they_stay() -> None:
    pods = [pod("a", "w-1"), pod("b", "w-2"), pod("c", "w-2")]
    assert moved(pods, node("w-1"), node("w-2"), node("w-3")) == []


def test_with_a_lost_node_the_other_goes_on() -> None:
    pods = [pod("a", "w-1"), pod("b", "w-2", ready="False")]
    assert moved(pods, node("w-1"), node("w-2", ready="Unknown"), node("w-3")) == []


def test_all_of_a_lost_node_are_made_anew() -> None:
    pods = [pod("a", "w-1", ready="False"), pod("b", "w-1", ready="False")]
    assert moved(pods, node("w-1", ready="Unknown"), node("w-2")) == ["a", "b"]
    assert moved(pods, node("w-1", ready="Unknown")) == []


def test_a_node_that_takes_no_new_pods_keeps_one_of_those_that_it_has() -> None:
    cordoned = node("w-1", {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"})
    pods = [pod("a", "w-1"), pod("b", "w-1")]
    assert moved(pods, cordoned, node("w-2")) == ["b"]
    assert (
        moved([pod("a", "w-1"), pod("b", "w-3")], cordoned, node("w-2"), node("w-3", ready="Unknown")) == []
    )


@pytest.mark.parametrize(
    "other",
    [
        node("w-2", ready="False"),
        node("w-2", system="windows"),
        node("w-2", {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}),
        node("w-2", {"key": "gpu", "value": "only", "effect": "NoExecute"}),
    ],
)
def test_where_no_other_node_takes_any_they_stay(other: Any) -> None:
    assert moved([pod("a", "w-1"), pod("b", "w-1")], node("w-1"), other) == []


def test_pods_that_do_not_prefer_nodes_apart_would_come_back() -> None:
    pods = [pod("a", "w-1"), pod("b", "w-1")]
    assert moved(pods, node("w-1"), node("w-2"), spec={}) == []
    assert moved(pods, node("w-1"), node("w-2"), spec={"topologySpreadConstraints": [{}]}) == ["b"]


@pytest.mark.parametrize(
    ("toleration", "usable"),
    [
        ({"operator": "Exists"}, True),
        ({"key": "gpu", "operator": "Exists"}, True),
        ({"key": "gpu", "operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "gpu", "value": "only", "effect": "NoSchedule"}, True),
        ({"key": "gpu", "operator": "Equal", "value": "other"}, False),
        ({"key": "tpu", "operator": "Exists"}, False),
    ],
)
def test_tolerations(toleration: dict[str, str], usable: bool) -> None:
    tainted = node("w-1", {"key": "gpu", "value": "only", "effect": "NoSchedule"})
    assert bool(usable_nodes([tainted], {"tolerations": [toleration]})) is usable
    weak = node("w-1", {"key": "gpu", "value": "only", "effect": "PreferNoSchedule"})
    assert usable_nodes([weak], {}) == {"w-1"}
    assert bool(usable_nodes([weak], {"tolerations": [toleration]}, gladly=True)) is (
        usable and toleration.get("effect") != "NoSchedule"
    )


def test_to_a_node_that_would_rather_not_pods_only_go_when_theirs_is_lost() -> None:
    """The scheduler may well put them back to where they were, each time."""
    pods = [pod("a", "w-1"), pod("b", "w-1")]
    reluctant = node("w-2", {"key": "gpu", "value": "only", "effect": "PreferNoSchedule"})
    assert moved(pods, node("w-1"), reluctant) == []
    assert moved(pods, node("w-1", ready="Unknown"), reluctant) == ["a", "b"]


class Api:
    """Answers for the paths that it has."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers

    def request(self, path: str, *_rest: Any, **_more: Any) -> Answer:
        if path in self.answers:
            return Answer(200, json.dumps(self.answers[path]))
        return Answer(404, "not here")


def answers(replicas: int, pods: Sequence[Any], *nodes: Any) -> dict[str, Any]:
    """What an API says of two nodes, or of others."""
    return {
        dns_spread.DEPLOYMENT: {"spec": {"replicas": replicas, "template": {"spec": SPEC}}},
        dns_spread.PODS: {"items": pods},
        dns_spread.NODES: {"items": nodes or [node("w-1"), node("w-2")]},
    }


def cluster(replicas: int, *pods: Any) -> Dns:
    return Dns(Api(answers(replicas, pods)))


def test_it_is_settled_when_each_pod_has_a_node() -> None:
    assert not cluster(2, pod("a", "w-1")).settled()
    assert not cluster(2, pod("a", "w-1"), pod("b", None)).settled()
    dns = cluster(
        2, pod("a", "w-1"), pod("b", "w-1"), pod("c", "w-2", deletionTimestamp="2026-01-01T00:00:00Z")
    )
    assert dns.settled()
    assert dns.to_move() == [("kube-system", "b")]


def test_it_is_not_settled_while_a_node_that_is_ready_keeps_pods_off() -> None:
    pods = [pod("a", "w-1"), pod("b", "w-1")]
    beginning = {"key": "node.cilium.io/agent-not-ready", "effect": "NoSchedule"}
    assert not Dns(Api(answers(2, pods, node("w-1"), node("w-2", beginning)))).settled()
    lost = node("w-2", beginning, ready="False")
    assert Dns(Api(answers(2, pods, node("w-1"), lost))).settled(), "a node that is lost is not waited for"


class Scheduler(Api):
    """An API that puts pods which are made anew where `homes` says, one after the other."""

    def __init__(self, *homes: str) -> None:
        super().__init__(answers(2, []))
        self.pods = {"a": "w-1", "b": "w-1"}
        self.homes = list(homes)

    def request(self, path: str, method: str = "GET", *_rest: Any, **_more: Any) -> Answer:
        if method == "DELETE":
            del self.pods[path.rpartition("/")[2]]
            self.pods[f"new-{len(self.homes)}"] = self.homes.pop(0)
            return Answer(200, "{}")
        listed = [pod(name, home) for name, home in self.pods.items()]
        self.answers[dns_spread.PODS] = {"items": listed}
        return super().request(path)


def test_pods_that_come_back_together_are_moved_again_and_not_for_ever() -> None:
    api = Scheduler("w-1", "w-2")
    assert len(dns_spread.spread(Dns(api), 30, lambda _seconds: None)) == 2
    assert sorted(api.pods.values()) == ["w-1", "w-2"]
    stubborn = Scheduler(*["w-1"] * 9)
    assert len(dns_spread.spread(Dns(stubborn), 30, lambda _seconds: None)) == dns_spread.ATTEMPTS


def test_a_single_pod_is_where_it_is() -> None:
    dns = cluster(1, pod("a", "w-1"), pod("b", "w-1"))
    assert dns.settled()
    assert dns.to_move() == []


def test_a_cluster_without_it_has_nothing_to_move() -> None:
    dns = Dns(Api({}))
    assert dns.settled()
    assert dns.to_move() == []


def test_an_api_that_does_not_answer_is_no_cluster_without_it() -> None:
    class Silent(Api):
        def request(self, path: str, *_rest: Any, **_more: Any) -> Answer:
            return Answer(0, "connection refused")

    with pytest.raises(PodNetworkError, match="no answer: connection refused"):
        Dns(Silent({}))
