# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine is in an inventory."""

from __future__ import annotations

from typing import Any

import pytest

from kubestead.model.machine import Machine
from kubestead.model.registry import Registry
from kubestead.model.registry_groups import (
    STANDARD_GROUPS,
    groups_of,
    kubespray_clusters,
    kubespray_groups_of,
    kubespray_variables,
    record_of,
    variables_of,
)

CP, WORKER, OTHER, SPARE = (f"52:54:00:77:00:{number}" for number in (11, 21, 31, 41))


def machines(**changes: dict[str, Any]) -> list[Machine]:
    """A control plane, a worker, a machine of another cluster, and one outside of all."""
    content: dict[str, dict[str, Any]] = {
        CP: {"hostname": "cp-1", "role": "control-plane", "ip": "10.0.0.11", "labels": {"rack": "a1"}},
        WORKER: {"hostname": "w-1", "role": "worker", "taints": ["a=b:NoSchedule", "c:NoExecute"]},
        OTHER: {"hostname": "k3s-1", "role": "control-plane", "cluster": "two", "distribution": "k3s"},
        SPARE: {"hostname": "spare", "role": "compute", "rack": "x", "mac": "wrong", "ä": 1, "a-b": 2},
    }
    for entry in content.values():
        entry.update({"architecture": "amd64", **changes.get(entry["hostname"].replace("-", "_"), {})})
    return list(Registry(content))


def test_groups() -> None:
    assert [
        groups_of(machine) for machine in machines(w_1={"os": "debian-12", "features": ["gpu", "nfs"]})
    ] == [
        ["control_plane", "cluster_homelab", "arch_amd64", "kubeadm"],
        ["worker", "cluster_homelab", "arch_amd64", "feature_gpu", "feature_nfs", "os_debian_12", "kubeadm"],
        ["control_plane", "cluster_two", "arch_amd64", "k3s"],
        ["compute", "cluster_homelab", "arch_amd64"],
    ]
    assert {"control_plane", "rke2", "feature_inference"} <= set(STANDARD_GROUPS)


def test_variables_are_the_record_and_its_values() -> None:
    spare = machines()[3]
    record = record_of(spare, lambda value: list(value) if isinstance(value, tuple) else value)
    assert record == {
        "mac": SPARE,
        "hostname": "spare",
        "role": "compute",
        "architecture": "amd64",
        "features": [],
        "specs": {},
        "cluster": "homelab",
        "distribution": "kubeadm",
        "labels": {},
        "taints": [],
        "locked": False,
        "rack": "x",
        "ä": 1,
        "a-b": 2,
    }
    variables = variables_of(spare, record)
    assert variables.pop("machine") is record
    assert variables == {
        f"machine_{key}": value for key, value in record.items() if key not in ("hostname", "ä", "a-b")
    }


def test_the_address_of_the_registry_comes_first() -> None:
    first, second, *_ = machines()
    assert variables_of(first, {}, "10.9.9.9")["ansible_host"] == "10.0.0.11"
    assert variables_of(second, {}, "10.9.9.9")["ansible_host"] == "10.9.9.9"
    assert "ansible_host" not in variables_of(second, {})


def test_groups_of_kubespray() -> None:
    found = machines()
    assert kubespray_clusters(found) == ["homelab"]
    assert [kubespray_groups_of(machine, "homelab") for machine in found] == [
        ("kube_control_plane", "etcd"),
        ("kube_node",),
        (),
        (),
    ]
    assert not any(kubespray_groups_of(machine, "two") for machine in found), "that is k3s"


@pytest.mark.parametrize(
    ("change", "address", "expected"),
    [
        ({}, None, {"ip": "10.0.0.11", "access_ip": "10.0.0.11"}),
        ({"ip": "fd77::11"}, None, {"ip6": "fd77::11", "access_ip6": "fd77::11"}),
        ({"ip": None}, "10.9.9.9", {"ip": "10.9.9.9", "access_ip": "10.9.9.9"}),
        ({"ip": None}, None, {}),
    ],
)
def test_variables_of_kubespray(
    change: dict[str, Any], address: str | None, expected: dict[str, str]
) -> None:
    control_plane, worker, *_ = machines(cp_1=change)
    record = record_of(control_plane, lambda value: value)
    assert kubespray_variables(control_plane, record, address) == {
        "etcd_member_name": "cp-1",
        "node_labels": {"rack": "a1"},
        **expected,
    }
    assert kubespray_variables(worker, {}) == {"node_taints": ["a=b:NoSchedule", "c=:NoExecute"]}
