# SPDX-License-Identifier: GPL-3.0-or-later
"""The published schema and the code take and refuse the same machines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from kubestead.model import machine
from kubestead.model.registry import Registry, RegistryError

SCHEMA = json.loads((Path(__file__).parents[2] / "registry.schema.json").read_text(encoding="utf-8"))
MAC = "52:54:00:77:00:11"
PLAIN = {"hostname": "lab-cp-1", "role": "control-plane", "architecture": "amd64"}

GOOD: list[dict[str, Any]] = [
    {},
    {"hostname": "a"},
    {"hostname": "3com.example.org"},
    {"hostname": "Lab-CP-1"},
    {"role": "compute"},
    {"architecture": "x86_64"},
    {"features": []},
    {"features": ["kubernetes", "gpu", "nfs", "storage", "compute", "inference", "monitoring"]},
    {"features": None},
    {"ip": "10.0.0.11"},
    {"ip": "fd77::11"},
    {"ip": "::1"},
    {"ip": None},
    {"specs": {"cpu": "4c/4t", "memory": "16GB", "disks": [1, {"a": None}]}},
    {"os": "ubuntu-20.04"},
    {"os": "rhel-10", "distribution": "rke2"},
    {"cluster": "rack-1"},
    {"labels": {"rack": "a1", "example.org/compute": "cuda", "empty": ""}},
    {"taints": ["dedicated=media:NoSchedule", "gpu:NoExecute"]},
    {
        "taints": [
            {"key": "dedicated", "value": "media", "effect": "PreferNoSchedule"},
            {"key": "x", "effect": "NoExecute"},
        ]
    },
    {"firmware": "uefi"},
    {"disk": "/dev/disk/by-id/ata-WDC_WD40EFRX-68N32N0_WD-1"},
    {"install_method": "image"},
    {"install_method": "installer"},
    {"gpu_pci_address": "0000:0A:00"},
    {"proxmox": {"node": "pve", "vmid": 101, "cores": 4, "memory": 8192, "disk": 40, "storage": "local-lvm"}},
    {"proxmox": {}},
    {"bmc": {"type": "wol"}},
    {"bmc": {"type": "redfish", "address": "https://10.0.0.5/redfish", "credentials": "file:/etc/bmc.json"}},
    {"bmc": {"type": "ipmi", "address": "10.0.0.5", "username": "admin", "credentials": "env:BMC"}},
    {"locked": True},
    {"rack": "a1", "whatever": [1, 2]},
]

BAD: list[tuple[dict[str, Any], str]] = [
    ({"hostname": "-a"}, "hostname"),
    ({"hostname": "a_b"}, "hostname"),
    ({"hostname": "a" * 64}, "hostname"),
    ({"hostname": ".".join(["a" * 60] * 5)}, "hostname"),
    ({"hostname": "10.0.0.11"}, "hostname"),
    ({"hostname": "localhost"}, "hostname"),
    ({"hostname": ""}, "hostname"),
    ({"hostname": 7}, "hostname"),
    ({"hostname": None}, "hostname"),
    ({"role": "master"}, "role"),
    ({"role": None}, "role"),
    ({"role": ["worker"]}, "role"),
    ({"architecture": "riscv64"}, "architecture"),
    ({"features": "kubernetes"}, "features"),
    ({"features": ["kubernets"]}, "features"),
    ({"features": [["gpu"]]}, "features"),
    ({"ip": "10.0.0.300"}, "ip"),
    ({"ip": "10.0.0.11/24"}, "ip"),
    ({"ip": "010.0.0.11"}, "ip"),
    ({"ip": "224.0.0.1"}, "ip"),
    ({"ip": "0.0.0.1"}, "ip"),
    ({"ip": "::"}, "ip"),
    ({"ip": "ff02::1"}, "ip"),
    ({"ip": "fe80::1%eth0"}, "ip"),
    ({"ip": ""}, "ip"),
    ({"ip": 10}, "ip"),
    ({"specs": "4 cores"}, "specs"),
    ({"os": "debian-11"}, "os"),
    ({"cluster": "Rack 1"}, "cluster"),
    ({"distribution": "minikube"}, "distribution"),
    ({"labels": ["a"]}, "labels"),
    ({"labels": {"a b": "c"}}, "labels"),
    ({"labels": {"a": 1}}, "labels.a"),
    ({"taints": "a:NoSchedule"}, "taints"),
    ({"taints": ["a=b:Never"]}, "taints"),
    ({"taints": [{"effect": "NoSchedule"}]}, "taints"),
    ({"firmware": "coreboot"}, "firmware"),
    ({"disk": "/dev/sda"}, "disk"),
    ({"disk": "/dev/disk/by-id/x init=/bin/sh"}, "disk"),
    ({"install_method": "pxe"}, "install_method"),
    ({"install_method": ["image"]}, "install_method"),
    ({"gpu_pci_address": "0000:01:00.0"}, "gpu_pci_address"),
    ({"gpu_pci_address": "card0"}, "gpu_pci_address"),
    ({"proxmox": []}, "proxmox"),
    ({"proxmox": {"vmid": 99}}, "proxmox.vmid"),
    ({"proxmox": {"cores": "4"}}, "proxmox.cores"),
    ({"proxmox": {"memory": True}}, "proxmox.memory"),
    ({"proxmox": {"node": "p v e"}}, "proxmox.node"),
    ({"bmc": {}}, "bmc.type"),
    ({"bmc": {"type": "ipmi"}}, "bmc.address"),
    ({"bmc": {"type": "wol", "password": "hunter2"}}, "bmc.password"),
    ({"bmc": {"type": "wol", "credentials": "hunter2"}}, "bmc.credentials"),
    ({"locked": "yes"}, "locked"),
]


def accepted_by_schema(content: Any) -> bool:
    """Whether the schema takes this registry."""
    return bool(jsonschema.Draft202012Validator(SCHEMA).is_valid(content))


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("change", GOOD, ids=str)
def test_both_take(change: dict[str, Any]) -> None:
    content = {MAC: {**PLAIN, **change}}
    Registry(content)
    assert accepted_by_schema(content)


@pytest.mark.parametrize(("change", "key"), BAD, ids=str)
def test_both_refuse(change: dict[str, Any], key: str) -> None:
    content = {MAC: {**PLAIN, **change}}
    assert not accepted_by_schema(content)
    with pytest.raises(RegistryError) as caught:
        Registry(content, "machines.json")
    (problem,) = caught.value.problems
    assert (problem.file, problem.mac, problem.key) == ("machines.json", MAC, key)
    assert "hunter2" not in str(problem)


@pytest.mark.parametrize("missing", sorted(machine.REQUIRED_KEYS))
def test_both_miss_a_required_key(missing: str) -> None:
    content = {MAC: {key: value for key, value in PLAIN.items() if key != missing}}
    assert not accepted_by_schema(content)
    with pytest.raises(RegistryError, match=f"{missing} is missing"):
        Registry(content)


@pytest.mark.parametrize(
    ("mac", "good"),
    [
        ("52:54:00:77:00:1A", True),
        ("52:54:00:77:00:1", False),
        ("52-54-00-77-00-1a", True),
        ("01-52-54-00-77-00-1a", True),
        ("5254.0077.001a", True),
        ("52540077001a", True),
        ("52:54:00:77:00", False),
        ("52:54-00:77:00:11", False),
        ("lab-cp-1", False),
        ("", False),
    ],
)
def test_macs(mac: str, good: bool) -> None:
    assert accepted_by_schema({mac: PLAIN}) == good
    if good:
        Registry({mac: PLAIN})
    else:
        with pytest.raises(RegistryError, match="is no MAC address"):
            Registry({mac: PLAIN})


@pytest.mark.parametrize("content", [{MAC: "lab-cp-1"}, {MAC: None}, {MAC: []}], ids=str)
def test_a_machine_is_an_object(content: Any) -> None:
    assert not accepted_by_schema(content)
    with pytest.raises(RegistryError, match="expected an object that describes the machine"):
        Registry(content)


def test_the_words_are_the_same() -> None:
    described = SCHEMA["$defs"]["machine"]
    keys = described["properties"]
    assert tuple(keys) == machine.KEYS
    assert tuple(described["required"]) == machine.REQUIRED_KEYS
    assert tuple(keys["role"]["enum"]) == machine.ROLES
    assert set(keys["architecture"]["enum"]) == {*machine.ARCHITECTURES, *machine.ARCHITECTURE_ALIASES}

    def words(key: str) -> Any:
        return keys[key]["anyOf"][0]

    assert tuple(words("features")["items"]["enum"]) == machine.FEATURES
    assert set(words("os")["enum"]) == {*machine.OPERATING_SYSTEMS, *machine.OPERATING_SYSTEM_SUCCESSORS}
    assert tuple(words("distribution")["enum"]) == machine.DISTRIBUTIONS
    assert tuple(words("firmware")["enum"]) == machine.FIRMWARES
    assert tuple(words("install_method")["enum"]) == machine.INSTALL_METHODS
    assert tuple(words("bmc")["properties"]["type"]["enum"]) == machine.BMC_TYPES
