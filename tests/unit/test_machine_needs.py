# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine has, and what it takes to be a node."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from kubestead.model.machine_needs import Machine, Needs, judge, look

RANGES = {"the pod range": "10.244.0.0/16", "the service range": "10.96.0.0/12"}
ADDRESSES = [
    {"ifname": "lo", "addr_info": [{"local": "127.0.0.1", "prefixlen": 8, "scope": "host"}]},
    {"ifname": "eth0", "addr_info": [{"local": "10.0.0.11", "prefixlen": 24, "scope": "global"}]},
    {"ifname": "cni0", "addr_info": [{"local": "10.244.1.1", "prefixlen": 24, "scope": "global"}]},
]
ROUTES = [
    {"dst": "default", "gateway": "10.0.0.1", "dev": "eth0"},
    {"dst": "10.0.0.0/24", "dev": "eth0"},
    {"dst": "10.96.0.0/16", "gateway": "10.0.0.1", "dev": "tun0"},
    {"dst": "10.244.2.0/24", "gateway": "10.244.2.0", "dev": "flannel.1"},
]


def ip(argv: Sequence[str], stdin: str | None = None, timeout: float = 30) -> tuple[int, str, str]:
    """What the program ip says of a machine with a pod network and a VPN."""
    listed = ADDRESSES if "address" in argv else [] if "-6" in argv else ROUTES
    return 0, json.dumps(listed), ""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal:        2013620 kB\nMemFree: 1 kB\n")
    (tmp_path / "var/lib").mkdir(parents=True)
    return tmp_path


def test_a_machine_is_looked_at(root: Path) -> None:
    machine = look(root, ip)
    assert machine.memory == 1966
    assert machine.cpus >= 1
    assert list(machine.disk) == [str(root / "var/lib")], "one folder for each file system"
    assert machine.networks == {"10.0.0.0/24": "eth0"}
    assert machine.routes == {"10.0.0.0/24": "eth0", "10.96.0.0/16": "tun0"}
    assert not machine.member


def test_this_computer_can_be_looked_at() -> None:
    machine = look()
    assert machine.memory > 0
    assert min(machine.disk.values()) > 0
    shown = subprocess.run(["ip", "-brief", "address"], check=True, capture_output=True, text=True).stdout
    assert bool(machine.networks) == any(
        "127.0.0.1" not in line and "." in line for line in shown.splitlines()
    )


def test_without_the_program_nothing_is_said_of_networks(root: Path) -> None:
    machine = look(root, lambda argv, stdin=None, timeout=30: (127, "", "ip: not found"))
    assert judge(machine, Needs(), RANGES, vip="10.0.0.9").problems == []


def test_all_that_is_too_little_at_once() -> None:
    machine = Machine(memory=900, cpus=1, disk={"/var/lib": 100, "/var/lib/etcd": 9000})
    found = judge(machine, Needs(memory=1700, cpus=2, disk=4096), {})
    assert [problem.split(",")[0] for problem in found.problems] == [
        "it has 900 MiB of memory",
        "it has 1 processors",
        "/var/lib has 100 MiB of room",
    ]


def test_a_node_at_work_is_only_warned_of_its_room(root: Path) -> None:
    (root / "etc/kubernetes").mkdir(parents=True)
    (root / "etc/kubernetes/kubelet.conf").write_text("")
    machine = look(root, ip)
    assert machine.member
    found = judge(machine, Needs(disk=10**9), RANGES)
    assert (len(found.problems), len(found.warnings)) == (0, 1), "routes of a node are its pod network's"


def test_a_range_that_the_machine_has_a_route_to(root: Path) -> None:
    problems = judge(look(root, ip), Needs(), RANGES).problems
    assert len(problems) == 1
    assert "10.96.0.0/16" in problems[0]
    assert "tun0" in problems[0]


@pytest.mark.parametrize(("vip", "wrong"), [("10.0.0.9", False), ("10.0.1.9", True), ("", False)])
def test_the_shared_address_lies_in_one_of_its_networks(root: Path, vip: str, wrong: bool) -> None:
    assert bool(judge(look(root, ip), Needs(), {}, vip).problems) == wrong
