# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventories that come along, as people begin with them, under both versions of ansible-core."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubestead.model.environment_settings import load
from kubestead.model.registry import Registry
from tests.integration.ansible_cores import CHECKOUT, NEWEST, OLDEST, environment, programs_of
from tests.integration.test_inventory import Said

# Each inventory's groups with members: hosts, and children with a + before them.
GROUPS: dict[str, dict[str, str]] = {
    "example": {
        "control_plane": "k8s-cp-1",
        "worker": "k8s-worker-1 k8s-worker-2",
        "kubeadm": "k8s-cp-1 k8s-worker-1 k8s-worker-2",
        "feature_kubernetes": "k8s-cp-1 k8s-worker-1 k8s-worker-2",
        "feature_storage": "k8s-worker-1",
        "cluster_homelab": "k8s-cp-1 k8s-worker-1 k8s-worker-2",
        "arch_amd64": "k8s-cp-1 k8s-worker-1 k8s-worker-2",
        "os_debian_12": "k8s-cp-1",
        "os_debian_13": "k8s-worker-1 k8s-worker-2",
    },
    "homelab-pxe": {
        "control_plane": "k8s-cp-1 k8s-cp-2 k8s-cp-3",
        "worker": "k8s-worker-1 k8s-worker-2",
        "compute": "compute-1",
        "kubeadm": "k8s-cp-1 k8s-cp-2 k8s-cp-3 k8s-worker-1 k8s-worker-2",
        "feature_kubernetes": "k8s-cp-1 k8s-cp-2 k8s-cp-3 k8s-worker-1 k8s-worker-2",
        "feature_nfs": "k8s-cp-1",
        "feature_storage": "k8s-cp-1 k8s-worker-1",
        "feature_monitoring": "k8s-worker-1",
        "feature_gpu": "k8s-worker-2 compute-1",
        "feature_inference": "k8s-worker-2",
        "feature_compute": "compute-1",
        "cluster_homelab": "k8s-cp-1 k8s-cp-2 k8s-cp-3 k8s-worker-1 k8s-worker-2 compute-1",
        "arch_amd64": "k8s-cp-1 k8s-cp-2 k8s-cp-3 k8s-worker-1 k8s-worker-2 compute-1",
        "pxe_server": "pxe",
        "state_api": "+pxe_server",
    },
    "vmstation": {
        "control_plane": "+monitoring_nodes",
        "worker": "+storage_nodes +compute_nodes",
        "monitoring_nodes": "masternode",
        "storage_nodes": "storagenodet3500",
        "compute_nodes": "homelab",
        "kubeadm": "masternode storagenodet3500",
        "rke2": "homelab",
        "cluster_homelab": "+kubeadm",
        "cluster_rke2_homelab": "+rke2",
        "feature_kubernetes": "+kubeadm +rke2",
        "feature_monitoring": "+monitoring_nodes",
        "feature_storage": "+storage_nodes",
        "feature_compute": "+compute_nodes",
    },
    "homepbp": {
        "control_plane": "pbp-1 pbp-2 pbp-3",
        "k3s": "pbp-1 pbp-2 pbp-3",
        "feature_kubernetes": "pbp-1 pbp-2 pbp-3",
        "feature_storage": "pbp-1 pbp-2 pbp-3",
        "cluster_homepbp": "pbp-1 pbp-2 pbp-3",
        "arch_arm64": "pbp-1 pbp-2 pbp-3",
        "os_ubuntu_24_04": "pbp-1 pbp-2",
        "os_ubuntu_22_04": "pbp-3",
    },
    "proxmox": {
        "ungrouped": "localhost",
        "k8s": "+k8s-control +k8s-nodes",
        "k8s-control": "k8s-control-1",
        "k8s-nodes": "k8s-node-1 k8s-node-2",
        "proxmox": "proxmox-1",
        "control_plane": "+k8s-control",
        "worker": "+k8s-nodes",
        "kubeadm": "+k8s",
        "cluster_homelab": "+k8s",
        "feature_kubernetes": "+k8s",
        "feature_storage": "k8s-node-1",
        "feature_gpu": "k8s-node-2",
    },
}
INVENTORIES = CHECKOUT / "inventory"


def run(
    version: str, program: str, *arguments: str | Path, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Run a program of Ansible from the checkout, with the settings of the example in the environment."""
    programs = programs_of(version)
    return subprocess.run(
        [programs / program, *arguments],
        cwd=CHECKOUT,
        env=environment(programs, **load(CHECKOUT / "example.env"), **settings),
        capture_output=True,
        text=True,
        check=False,
    )


def listed(version: str, name: str) -> Any:
    """What `ansible-inventory --list` shows of an inventory."""
    done = run(version, "ansible-inventory", "-i", INVENTORIES / name, "--list", "--export")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def variables(version: str, name: str, host: str, *wanted: str) -> list[Any]:
    """Variables of a host, as a task has them."""
    message = json.dumps({"msg": "{{ [" + ", ".join(wanted) + "] }}"})
    command = ("ansible", host, "-i", INVENTORIES / name, "-c", "local", "-m", "ansible.builtin.debug")
    done = run(version, *command, "-a", message, ANSIBLE_STDOUT_CALLBACK="ansible.builtin.minimal")
    assert done.returncode == 0, done.stdout + done.stderr
    _, _, answer = done.stdout.partition(" => ")
    found: list[Any] = json.loads(answer)["msg"]
    return found


def test_each_inventory_is_looked_at() -> None:
    there = {path.name for path in INVENTORIES.iterdir() if path.is_dir()}
    assert there == {*GROUPS, "lab"}, "the lab has tests of its own"


@pytest.mark.parametrize("version", [NEWEST, OLDEST])
@pytest.mark.parametrize("name", GROUPS)
def test_groups(version: str, name: str) -> None:
    found = listed(version, name)
    members = {
        group: {*content.get("hosts", []), *(f"+{child}" for child in content.get("children", []))}
        for group, content in found.items()
        if group not in ("_meta", "all")
    }
    expected = {group: set(words.split()) for group, words in GROUPS[name].items()}
    assert {group: names for group, names in members.items() if names} == expected
    done = run(version, "ansible-inventory", "-i", INVENTORIES / name, "--graph")
    assert done.returncode == 0, done.stderr
    for host in found["_meta"]["hostvars"]:
        assert f"--{host}\n" in done.stdout


def preflight(version: str, name: str, *more: str) -> subprocess.CompletedProcess[str]:
    """What the playbook says of an inventory before it asks any machine."""
    playbook = "playbooks/preflight.yml"
    return run(version, "ansible-playbook", "-i", INVENTORIES / name, playbook, "--tags", "inventory", *more)


@pytest.mark.parametrize("name", ["example", "homelab-pxe", "proxmox", "vmstation"])
@pytest.mark.parametrize("version", [NEWEST, OLDEST])
def test_machines_and_address_ranges_fit_together(version: str, name: str) -> None:
    done = preflight(version, name)
    assert done.returncode == 0, done.stdout + done.stderr
    first = {
        "example": "k8s-cp-1",
        "homelab-pxe": "k8s-cp-1",
        "proxmox": "k8s-control-1",
        "vmstation": "masternode",
    }
    assert f"control plane: {first[name]}" in done.stdout
    assert ("left alone (RKE2, k3s): homelab" in done.stdout) == (name == "vmstation")


@pytest.mark.parametrize("version", [NEWEST, OLDEST])
def test_all_that_is_wrong_is_said_at_once(version: str) -> None:
    wrong = {
        "control_plane_endpoint_vip": "10.0.0.12",
        "cluster_pod_subnet": "10.0.0.0/16",
        "cluster_service_subnet": "10.0.128.0/17",
        "container_runtime": "docker",
        "cni_plugin": "weave",
        "artifacts_source": "bundle",
        "artifacts_pins": {"kubernetes": "1.35.1"},
    }
    done = preflight(version, "homelab-pxe", "--extra-vars", json.dumps(wrong))
    assert done.returncode != 0
    said = Said(done.stdout + done.stderr)
    for words in (
        "Nothing was touched",
        "The pod range 10.0.0.0/16 and the service range 10.0.128.0/17 overlap",
        "k8s-cp-1 has the address 10.0.0.11",
        "control_plane_endpoint_vip is 10.0.0.12, the address of k8s-cp-2",
        "container_runtime is 'docker'",
        "'weave'",
        "artifacts_bundle_url is not set",
        "1.35.1",
    ):
        assert words in said, words


def test_a_homelab_of_k3s_alone_is_nothing_for_the_kubeadm_playbooks() -> None:
    done = preflight(NEWEST, "homepbp")
    assert done.returncode != 0
    assert "or all of them are machines of RKE2 or k3s" in Said(done.stdout + done.stderr)


@pytest.mark.parametrize("name", ["example", "homelab-pxe", "homepbp"])
def test_registries_have_nothing_to_remark(name: str) -> None:
    registry = Registry.load(INVENTORIES / name / "registry.json")
    assert registry.warnings == ()
    assert len(registry) >= 3


def test_the_pxe_server_has_two_addresses() -> None:
    wanted = (
        "ansible_host",
        "ansible_user",
        "ansible_become",
        "kubestead_api_url",
        "state_api_names",
        "dhcp_range",
    )
    assert variables(NEWEST, "homelab-pxe", "pxe", *wanted) == [
        "10.0.0.2",
        "netboot",
        True,
        "https://10.0.0.10:8080",
        ["10.0.0.10"],
        ["10.0.0.200", "10.0.0.209"],
    ]
    assert variables(NEWEST, "homelab-pxe", "k8s-cp-2", "ansible_host", "ansible_user") == [
        "10.0.0.12",
        "root",
    ]


def test_the_pinned_versions_of_the_mixed_homelab() -> None:
    pinned = (
        "artifacts_pins.kubernetes",
        "artifacts_pins.flannel",
        "containerd_version",
        "cluster_pod_subnet",
    )
    assert variables(NEWEST, "vmstation", "masternode", *pinned) == [
        "1.29.15",
        "0.27.4",
        "1.7.28",
        "10.244.0.0/16",
    ]


@pytest.mark.parametrize("version", [NEWEST, OLDEST])
def test_values_from_the_environment(version: str) -> None:
    node = (
        "ansible_host",
        "machine_ip",
        "machine_gpu_pci_address",
        "node_labels",
        "artifacts_pins",
        "crio_version",
        "enable_cuda",
    )
    assert variables(version, "proxmox", "k8s-node-2", *node) == [
        "192.168.1.112",
        "192.168.1.112",
        "0000:01:00",
        {"compute": "cuda"},
        {"kubernetes": "1.36.4", "crio": "1.36", "cilium": "1.19.6"},
        "",
        False,
    ]
    assert variables(version, "proxmox", "proxmox-1", "ansible_host", "proxmox_node") == [
        "192.168.1.10",
        "pve",
    ]


def test_no_secret_is_written_in_an_inventory() -> None:
    for file in INVENTORIES.rglob("*.y*ml"):
        for document in yaml.safe_load_all(file.read_text(encoding="utf-8")):
            for key, value in (document or {}).items() if isinstance(document, dict) else ():
                if any(word in key for word in ("password", "secret", "token", "_key")):
                    assert "{{" in str(value), f"{file}: {key}"


def test_the_vault_that_is_shipped_is_an_example() -> None:
    folder = INVENTORIES / "vmstation" / "group_vars" / "rke2"
    assert not (folder / "vault.yml").exists()
    example = yaml.safe_load((folder / "vault.yml.example").read_text(encoding="utf-8"))
    used = (folder / "connection.yml").read_text(encoding="utf-8")
    assert all(f"{{{{ {name} }}}}" in used for name in example)
