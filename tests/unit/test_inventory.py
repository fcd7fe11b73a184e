# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory plugin as ansible-inventory runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
REGISTRY = {
    "52:54:00:77:00:11": {
        "hostname": "lab-cp-1",
        "role": "control-plane",
        "architecture": "x86_64",
        "features": ["kubernetes"],
        "ip": "10.77.0.11",
        "specs": {"cpu": "{{ 6 * 7 }}", "memory": "64GB"},
        "os": "debian-12",
        "labels": {"rack": "a1"},
        "taints": ["dedicated=media:NoSchedule"],
        "rack": "{% raw %}",
    },
    "52-54-00-77-00-21": {
        "hostname": "lab-worker-1",
        "role": "worker",
        "architecture": "arm64",
        "features": ["kubernetes", "gpu"],
        "os": "ubuntu-24.04",
        "cluster": "second-one",
        "distribution": "k3s",
    },
    "52:54:00:77:00:31": {"hostname": "lab-compute-1", "role": "compute", "architecture": "amd64"},
}
SERVERS = """\
pxe_server:
  hosts:
    lab-pxe: {ansible_host: 10.77.0.10}
state_api:
  children:
    pxe_server:
k8s:
  children:
    kubeadm:
"""


def run(program: str, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program of Ansible from the checkout."""
    settings = {
        name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "KUBESTEAD_"))
    }
    return subprocess.run(
        [Path(sys.executable).parent / program, *arguments],
        cwd=ROOT,
        env={**settings, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def listed(inventory: Path, **environment: str) -> Any:
    """What `ansible-inventory --list` shows."""
    done = run("ansible-inventory", "-i", inventory, "--list", "--export", **environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout, object_hook=lambda found: found.get("__ansible_unsafe", found))


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    """A folder as a user has it: the plugin's options, the registry, static hosts."""
    (tmp_path / "kubestead.yml").write_text("plugin: kubestead.homelab.registry\n", encoding="utf-8")
    (tmp_path / "registry.json").write_text(json.dumps(REGISTRY), encoding="utf-8")
    (tmp_path / "servers.yml").write_text(SERVERS, encoding="utf-8")
    return tmp_path


def test_groups_and_variables(inventory: Path) -> None:
    found = listed(inventory)
    groups = {name: sorted(group.get("hosts", [])) for name, group in found.items() if name != "_meta"}
    assert {name: hosts for name, hosts in groups.items() if hosts} == {
        "control_plane": ["lab-cp-1"],
        "worker": ["lab-worker-1"],
        "compute": ["lab-compute-1"],
        "feature_kubernetes": ["lab-cp-1", "lab-worker-1"],
        "feature_gpu": ["lab-worker-1"],
        "arch_amd64": ["lab-compute-1", "lab-cp-1"],
        "arch_arm64": ["lab-worker-1"],
        "os_debian_12": ["lab-cp-1"],
        "os_ubuntu_24_04": ["lab-worker-1"],
        "cluster_homelab": ["lab-compute-1", "lab-cp-1"],
        "cluster_second_one": ["lab-worker-1"],
        "kubeadm": ["lab-cp-1"],
        "k3s": ["lab-worker-1"],
        "pxe_server": ["lab-pxe"],
    }
    assert {"feature_nfs", "feature_monitoring", "rke2"} <= {*found["all"]["children"]}
    hosts = found["_meta"]["hostvars"]
    first = {key: value for key, value in hosts["lab-cp-1"].items() if key != "ansible_local"}
    assert first == {
        "ansible_host": "10.77.0.11",
        "machine_mac": "52:54:00:77:00:11",
        "machine_role": "control-plane",
        "machine_architecture": "amd64",
        "machine_features": ["kubernetes"],
        "machine_ip": "10.77.0.11",
        "machine_specs": {"cpu": "{{ 6 * 7 }}", "memory": "64GB"},
        "machine_os": "debian-12",
        "machine_cluster": "homelab",
        "machine_distribution": "kubeadm",
        "machine_labels": {"rack": "a1"},
        "machine_taints": [{"key": "dedicated", "value": "media", "effect": "NoSchedule"}],
        "machine_locked": False,
        "machine_rack": "{% raw %}",
    }
    assert hosts["lab-worker-1"]["machine_mac"] == "52:54:00:77:00:21"
    assert "ansible_host" not in hosts["lab-worker-1"]
    assert "machine_os" not in hosts["lab-compute-1"]


def test_the_graph_shows_both_files(inventory: Path) -> None:
    done = run("ansible-inventory", "-i", inventory, "--graph")
    assert done.returncode == 0, done.stderr
    assert "  |--@state_api:\n  |  |--@pxe_server:\n  |  |  |--lab-pxe\n" in done.stdout
    assert "  |--@k8s:\n  |  |--@kubeadm:\n  |  |  |--lab-cp-1\n" in done.stdout
    assert done.stderr.count("the key rack is not known; it is kept.") == 1


def test_text_of_the_registry_is_no_template(inventory: Path) -> None:
    done = run(
        "ansible",
        "lab-cp-1",
        "-i",
        inventory,
        "--connection=local",
        "-m",
        "ansible.builtin.debug",
        "-a",
        "msg='{{ machine_specs.cpu }} {{ machine_rack }}'",
    )
    assert done.returncode == 0, done.stderr
    assert "{{ 6 * 7 }} {% raw %}" in done.stdout


def test_constructed_options(inventory: Path) -> None:
    (inventory / "kubestead.yml").write_text(
        "plugin: kubestead.homelab.registry\n"
        "registry: more/machines.yml\n"
        "strict: true\n"
        "compose:\n  rack: machine_labels.rack | default('none')\n"
        "groups:\n  big: \"'64' in machine_specs.memory | default('')\"\n"
        "keyed_groups:\n  - {key: rack, prefix: rack}\n",
        encoding="utf-8",
    )
    (inventory / "more").mkdir()
    (inventory / "registry.json").rename(inventory / "more" / "machines.yml")  # JSON is YAML
    found = listed(inventory / "kubestead.yml")
    assert found["big"]["hosts"] == ["lab-cp-1"]
    assert found["rack_a1"]["hosts"] == ["lab-cp-1"]
    assert found["rack_none"]["hosts"] == ["lab-worker-1", "lab-compute-1"]


def test_a_registry_with_problems_stops_the_run_and_lists_them_all(inventory: Path) -> None:
    broken = {**REGISTRY, "52:54:00:77:00:41": {"hostname": "lab-cp-1", "role": "boss"}}
    (inventory / "registry.json").write_text(json.dumps(broken), encoding="utf-8")
    done = run(
        "ansible-inventory", "-i", inventory, "--list", ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED="true"
    )
    assert done.returncode != 0
    said = " ".join(done.stderr.split())
    place = f"{inventory}/registry.json: 52:54:00:77:00:41"
    assert "The machine registry has 3 problems; correct the file and run again." in said
    assert f'{place}: role is "boss", expected control-plane, worker or compute' in said
    assert f"{place}: architecture is missing, expected amd64 or arm64" in said
    assert f'{place}: hostname is "lab-cp-1", expected one of its own: 52:54:00:77:00:11 has the same' in said
    assert "Traceback" not in said


def test_other_files_are_left_to_other_plugins(inventory: Path) -> None:
    (inventory / "kubestead.yml").rename(inventory / "site.yml")
    done = run("ansible-inventory", "-i", inventory / "site.yml", "--list")
    assert done.returncode != 0 or "lab-cp-1" not in done.stdout


def test_the_cache_never_hides_an_edit(inventory: Path, tmp_path: Path) -> None:
    (inventory / "kubestead.yml").write_text(
        "plugin: kubestead.homelab.registry\ncache: true\ncache_plugin: ansible.builtin.jsonfile\n"
        f"cache_connection: {tmp_path}/cache\ncache_timeout: 3600\n",
        encoding="utf-8",
    )
    first = listed(inventory / "kubestead.yml")["_meta"]
    (kept,) = (tmp_path / "cache").iterdir()
    written = kept.stat().st_mtime_ns
    assert listed(inventory / "kubestead.yml")["_meta"] == first
    assert kept.stat().st_mtime_ns == written
    changed = json.loads(json.dumps(REGISTRY).replace("lab-worker-1", "lab-worker-9"))
    (inventory / "registry.json").write_text(json.dumps(changed), encoding="utf-8")
    assert listed(inventory / "kubestead.yml")["worker"]["hosts"] == ["lab-worker-9"]


def test_ten_thousand_hosts(inventory: Path) -> None:
    registry = {
        f"52:54:00:00:{i >> 8:02x}:{i & 255:02x}": {
            "hostname": f"node-{i}",
            "role": "worker",
            "architecture": "amd64",
            "features": ["kubernetes", "nfs"],
            "ip": f"10.0.{i >> 8}.{i & 255}",
        }
        for i in range(10_000)
    }
    (inventory / "registry.json").write_text(json.dumps(registry), encoding="utf-8")
    before = os.times().children_user
    done = run("ansible", "node-1", "-i", inventory, "--list-hosts")
    spent = os.times().children_user - before
    assert "node-1" in done.stdout
    assert spent < 6, "three times what it takes on an idle computer of 2026"
