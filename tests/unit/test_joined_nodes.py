# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is known to be a node, and well, and need not be gone to again."""

from __future__ import annotations

from typing import Any

import pytest

from plugins.module_utils.node_state import Kubelet, NodeState
from tests.unit.collection_sample import load

is_worker_of = load("filter.is_worker_of").is_worker_of
joined_nodes = load("filter.joined_nodes").joined_nodes

PIN = "sha256:aa"
CLUSTER = {"ca_pin": PIN, "cluster": {"answers": True, "nodes": [{"name": "w-1", "ready": True}]}}


def worker(**more: Any) -> dict[str, Any]:
    """Facts of a worker that is well, as a module returns them."""
    known: dict[str, Any] = {
        "state": "worker",
        "name": "w-1",
        "files": ["kubelet.conf"],
        "kubelet": Kubelet(installed=True, active="active", healthy=True),
        "kubelet_ca_pin": PIN,
        "member": True,
    }
    return NodeState(**{**known, **more}).as_dict()


def machine(**more: Any) -> dict[str, Any]:
    """Variables of a host."""
    return {"inventory_hostname": "w-1", "kubestead_node": {"kubeadm": worker()}, **more}


def test_a_worker_that_is_well_is_one() -> None:
    """Of this cluster, by this name."""
    assert is_worker_of(worker(), CLUSTER, "w-1")


@pytest.mark.parametrize(
    "more",
    [
        {"state": "none", "files": []},
        {"state": "control_plane", "etcd_data": True},
        {"name": "w-9"},
        {"kubelet_ca_pin": "sha256:bb"},
        {"files": ["bootstrap-kubelet.conf", "kubelet.conf"]},
        {"kubelet": Kubelet(installed=True, active="inactive")},
        {"kubelet": Kubelet(installed=True, active="active", healthy=False)},
        {"member": None},
        {"member": False},
    ],
)
def test_whatever_is_to_be_mended_is_none(more: dict[str, Any]) -> None:
    """Then the machine is gone to."""
    assert not is_worker_of(worker(**more), CLUSTER, "w-1")


@pytest.mark.parametrize(
    "cluster",
    [{}, {**CLUSTER, "cluster": {"answers": False}}, {**CLUSTER, "cluster": {"answers": True, "nodes": []}}],
)
def test_a_cluster_that_does_not_say_so_has_none(cluster: dict[str, Any]) -> None:
    """It does not answer, or does not know the node."""
    assert not is_worker_of(worker(), cluster, "w-1")


def test_what_the_join_has_said_counts_first() -> None:
    """It is newer than what was asked before; one that failed says nothing of the machine."""
    well = {"kubeadm": {"kubelet": {"healthy": True}}}
    fresh = {"kubestead_node": {"kubeadm": NodeState().as_dict()}}
    assert joined_nodes([machine()], CLUSTER) == ["w-1"]
    assert joined_nodes([machine(**fresh)], CLUSTER) == []
    assert joined_nodes([machine(**fresh, kubeadm_join_result=well)], CLUSTER) == ["w-1"]
    assert joined_nodes([machine(kubeadm_join_result={"failed": True, "msg": "refused"})], CLUSTER) == []
    assert joined_nodes([{"inventory_hostname": "w-2"}], CLUSTER) == []
    assert joined_nodes([machine(kubeadm_join_node_name="w-7")], CLUSTER) == []
