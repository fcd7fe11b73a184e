# SPDX-License-Identifier: GPL-3.0-or-later
"""Labels and taints: set as declared, taken away when they are ours and no longer declared, else left."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kubestead.model.labelling import (
    ANNOTATION,
    EFFECTS,
    Change,
    Wanted,
    declared,
    lines,
    parse_taint,
    plan,
    stays,
)

Node = dict[str, Any]


def node(
    labels: dict[str, str] | None = None, taints: list[dict[str, str]] | None = None, record: str = ""
) -> Node:
    """A Node object as the API gives it."""
    metadata = {
        "name": "w-1",
        "resourceVersion": "7",
        "labels": {"kubernetes.io/hostname": "w-1", **(labels or {})},
    }
    if record:
        metadata["annotations"] = {ANNOTATION: record}
    return {"metadata": metadata, "spec": {"taints": taints} if taints else {}}


def applied(before: Node, change: Change) -> Node:
    """The node after a merge patch (RFC 7396), as the API server does it."""

    def merge(target: Any, patch: Any) -> Any:
        if not isinstance(patch, dict):
            return patch
        result = dict(target) if isinstance(target, dict) else {}
        for key, value in patch.items():
            if value is None:
                result.pop(key, None)
            else:
                result[key] = merge(result.get(key), value)
        return result

    after: Node = merge(before, change.patch("7"))
    return after


def through(
    before: Node, labels: dict[str, Any], taints: tuple[str, ...] = (), features: tuple[str, ...] = ()
) -> Node:
    """The node after it was brought to what is declared; a second time changes nothing."""
    wanted, problems = declared(labels, taints, features)
    assert problems == []
    after = applied(before, plan(before, wanted))
    assert not plan(after, wanted).needed
    return after


def own(after: Node) -> dict[str, str]:
    """The labels but the kubelet's."""
    return {
        key: value for key, value in after["metadata"]["labels"].items() if key != "kubernetes.io/hostname"
    }


def test_declared_labels_are_set_and_recorded_and_go_again() -> None:
    first = through(node({"theirs": "1"}), {"rack": "left", "ssd": True}, features=("gpu", "storage", "nfs"))
    assert own(first) == {
        "theirs": "1",
        "rack": "left",
        "ssd": "true",
        "feature.node.kubernetes.io/gpu": "nvidia",
        "feature.node.kubernetes.io/storage": "available",
    }
    second = through(first, {"rack": "right"}, features=("storage",))
    assert own(second) == {"theirs": "1", "rack": "right", "feature.node.kubernetes.io/storage": "available"}
    last = through(second, {})
    assert own(last) == {"theirs": "1"}
    assert ANNOTATION not in last["metadata"]["annotations"]
    assert last["metadata"]["labels"]["kubernetes.io/hostname"] == "w-1"


def test_what_others_have_set_is_left_even_if_it_was_declared_for_a_while() -> None:
    first = through(node({"rack": "left"}), {"rack": "left"})  # somebody had set just that
    assert own(through(first, {})) == {"rack": "left"}
    ours = through(node(), {"rack": "left"})
    ours["metadata"]["labels"]["rack"] = "cellar"  # somebody has moved it since
    assert own(through(ours, {})) == {"rack": "cellar"}


@pytest.mark.parametrize(
    "key",
    [
        "topology.kubernetes.io/zone",
        "node-role.kubernetes.io/worker",
        "k8s.io/x",
        "nvidia.com/gpu.product",
        "accelerator",
        "gpu-type",
    ],
)
def test_labels_of_kubernetes_and_of_graphics_cards_stay(key: str) -> None:
    first = through(node(), {key: "a"})
    assert own(first) == {key: "a"}
    change = plan(first, Wanted())
    assert change.left == [key]
    assert own(applied(first, change)) == {key: "a"}
    assert stays(key)


@pytest.mark.parametrize("key", ["rack", "example.org/x", "feature.node.kubernetes.io/gpu", "mynvidia.com/x"])
def test_other_labels_do_not_stay(key: str) -> None:
    assert not stays(key)


def test_taints_come_and_go_and_those_of_others_stay() -> None:
    theirs = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
    first = through(node(taints=[theirs]), {}, ("dedicated=video:NoSchedule", "slow:PreferNoSchedule"))
    assert first["spec"]["taints"] == [
        theirs,
        {"key": "dedicated", "effect": "NoSchedule", "value": "video"},
        {"key": "slow", "effect": "PreferNoSchedule"},
    ]
    second = through(first, {}, ("dedicated=sound:NoSchedule",))  # one value for a key and an effect
    assert second["spec"]["taints"] == [
        theirs,
        {"key": "dedicated", "effect": "NoSchedule", "value": "sound"},
    ]
    assert through(second, {})["spec"]["taints"] == [theirs]
    foreign = node(taints=[{"key": "dedicated", "value": "video", "effect": "NoSchedule"}])
    assert through(through(foreign, {}, ("dedicated=video:NoSchedule",)), {})["spec"] == foreign["spec"]


def test_a_node_as_declared_is_not_written_to() -> None:
    assert not plan(node({"a": "b"}), Wanted()).needed
    assert not plan(node({"a": "b"}), Wanted({"a": "b"})).needed


def test_a_change_is_for_the_version_that_was_seen() -> None:
    change = plan(node(), Wanted({"a": "b"}))
    assert change.patch("41")["metadata"]["resourceVersion"] == "41"
    assert "spec" not in change.patch("41")
    assert json.loads(change.record or "") == {"labels": {"a": "b"}}
    assert lines("w-1", change) == ["w-1: a=b"]


@pytest.mark.parametrize("record", ["{", "[]", '{"labels": 3}', '{"taints": ["?"]}'])
def test_a_record_that_is_not_ours_makes_nothing_ours(record: str) -> None:
    assert own(through(node({"a": "b"}, record=record), {})) == {"a": "b"}


def test_all_that_is_wrong_is_said_at_once() -> None:
    _wanted, problems = declared(
        {"Exa mple/x": "1", "-x": "1", "a": "b c", "kubernetes.io/hostname": "other", "fine.org/a": "1.2_x"},
        ["dedicated=video", "a=b:Sometimes", "kubernetes.io/os=x:NoExecute"],
    )
    assert len(problems) == 7
    for words in ("Exa mple", "'-x'", "'b c'", "hostname' is the kubelet's", "'dedicated=video'", EFFECTS[1]):
        assert any(words in problem for problem in problems)
    assert parse_taint("a:NoExecute") == ("a", "", "NoExecute")
