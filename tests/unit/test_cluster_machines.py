# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is what in a cluster, by the inventory's groups."""

from __future__ import annotations

import pytest

from tests.unit.collection_sample import load

acting_control_plane = load("filter.acting_control_plane").acting_control_plane
cluster_machines = load("filter.cluster_machines").cluster_machines

GROUPS = {
    "control_plane": ["cp-1", "cp-2", "rke2-1"],
    "worker": ["cp-2", "w-1", "k3s-1"],
    "compute": ["w-1", "c-1"],
    "rke2": ["rke2-1"],
    "k3s": ["k3s-1"],
}


@pytest.mark.parametrize(
    ("kinds", "machines"),
    [
        (["control_plane"], ["cp-1", "cp-2"]),
        (["worker"], ["w-1"]),
        (["compute"], ["c-1"]),
        (["others"], ["rke2-1", "k3s-1"]),
        (["control_plane", "worker"], ["cp-1", "cp-2", "w-1"]),
    ],
)
def test_each_machine_is_what_comes_first(kinds: list[str], machines: list[str]) -> None:
    assert cluster_machines(GROUPS, *kinds) == machines


def test_without_groups_there_is_nobody() -> None:
    assert cluster_machines({}, "control_plane", "worker", "compute", "others") == []


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="and not master"):
        cluster_machines(GROUPS, "master")


def test_before_there_is_a_cluster_the_one_with_the_claim_acts() -> None:
    asked = {"kubestead_node": {"kubeadm": {"state": "none"}}}
    claim = {"kubestead_claim": {"claim": {"holder": "cp-2"}}}
    assert acting_control_plane(["cp-1", "cp-2"], {"cp-1": {**asked, **claim}, "cp-2": asked}) == "cp-2"
    assert acting_control_plane(["cp-1", "cp-2"], {"cp-1": asked, "cp-2": asked}) == "cp-1"
    assert acting_control_plane(["cp-1", "cp-2"], {"cp-1": {"kubestead_claim": {"failed": True}}}) == "cp-1"
    assert acting_control_plane([], {}) == ""
