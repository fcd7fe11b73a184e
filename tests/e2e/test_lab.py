# SPDX-License-Identifier: GPL-3.0-or-later
"""Real nodes: up, up again, killed in every way, down with nothing left. One story, run in order."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import Lab, NodeSpec, base, cgroups, network, paths
from lab.errors import InputError
from lab.host import problems
from lab.process import Process, wait_until
from tests.figures import tell

pytestmark = pytest.mark.skipif(bool(os.geteuid() or problems()), reason="python -m lab check says why")

NAME = "selftest"
OLD, NEW = NodeSpec("old", "debian-12", "10.77.0.31"), NodeSpec("new", "debian-13", "10.77.0.32")
SPECS = [OLD, NEW]
CHECKOUT = Path(__file__).resolve().parents[2]


def cli(*words: str, expect: int | None = 0) -> subprocess.CompletedProcess[str]:
    """Run `python -m lab` for this lab."""
    done = subprocess.run(
        [sys.executable, "-m", "lab", "--lab", NAME, *words],
        cwd=CHECKOUT,
        text=True,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=300,
        check=False,
    )
    assert expect is None or done.returncode == expect, done.stdout + done.stderr
    return done


def leftovers() -> list[str]:
    """What of the lab can still be seen on this computer."""
    home = paths.home()
    found = [path.name for path in network.NAMESPACES.glob(f"ks-{NAME}*")]
    found += [str(path) for path in home.glob(f"{NAME}*")]
    found += [str(path) for path in Path("/sys/fs/cgroup").rglob(f"ks-{NAME}*")]
    found += [
        line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f"/{NAME}/nodes/" in line
    ]
    if cgroups.mode() is cgroups.Mode.SYSTEMD:
        listed = [
            "systemctl",
            "list-units",
            "--all",
            "--plain",
            "--no-legend",
            f"ks-{NAME}.*",
            f"ks_{NAME}.*",
        ]
        found += subprocess.run(listed, check=True, capture_output=True, text=True).stdout.splitlines()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if f"{home}/{NAME}/" in words:
            found.append(words.replace("\0", " "))
    return found


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    one = Lab(NAME)
    one.down()
    base.ensure({spec.os for spec in SPECS})
    yield one
    one.down()


def pid_of(lab: Lab, node: str, name: str) -> int:
    """Return the number of a process that runs a node; a unit has nspawn only."""
    if lab.node(node).with_systemd:
        shown = subprocess.run(
            ["systemctl", "show", "--property=MainPID", "--value", lab.node(node).unit],
            check=True,
            capture_output=True,
            text=True,
        )
        return int(shown.stdout)
    found = Process.load(lab.node(node).folder / "run.json")
    assert found
    if name == "supervisor":
        return found.pid
    children = Path(f"/proc/{found.pid}/task/{found.pid}/children").read_text().split()
    return int(children[0])


def says(lab: Lab, node: str, *command: str) -> str:
    done = lab.ssh(node, command)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_up(lab: Lab) -> None:
    start = time.monotonic()
    lab.preflight()
    lab.network_up()
    lab.gateway_start()
    assert sorted(lab.nodes_up(SPECS)) == ["new", "old"]
    tell(f"two nodes: {time.monotonic() - start:.1f} s")
    for spec in SPECS:
        assert says(lab, spec.name, "systemctl", "is-system-running") == "running"
        assert says(lab, spec.name, "cat", "/sys/class/net/eth0/address") == spec.mac
        assert says(lab, spec.name, "hostname") == spec.name
    assert 'VERSION_ID="12"' in says(lab, "old", "cat", "/etc/os-release")
    assert 'VERSION_ID="13"' in says(lab, "new", "cat", "/etc/os-release")


def test_up_again_does_nothing(lab: Lab) -> None:
    before = [pid_of(lab, spec.name, "nspawn") for spec in SPECS]
    gateway = lab.gateway.process()
    lab.network_up()
    lab.gateway_start()
    assert lab.nodes_up(SPECS) == []
    assert [pid_of(lab, spec.name, "nspawn") for spec in SPECS] == before
    assert lab.gateway.process() == gateway


def test_a_node_is_a_machine(lab: Lab) -> None:
    for spec in SPECS:
        kinds = says(lab, spec.name, "stat", "-f", "-c", "%T", "/var/lib/containerd", "/var/lib/etcd")
        assert "overlayfs" not in kinds
        assert says(lab, spec.name, "findmnt", "-no", "PROPAGATION", "/") == "shared"
        says(lab, spec.name, "modprobe", "overlay")
        says(lab, spec.name, "test", "-d", "/sys/module")
        assert lab.ssh(spec.name, ["modprobe", "no_such_module"]).returncode
        assert len(says(lab, spec.name, "cat", "/proc/swaps").splitlines()) == 1


def test_a_node_cannot_change_this_computer(lab: Lab) -> None:
    setting = Path("/proc/sys/vm/overcommit_memory")
    before = setting.read_text()
    other = "1" if before.strip() != "1" else "0"
    assert says(lab, "old", "sysctl", "-n", "-w", f"vm.overcommit_memory={other}") == other
    assert says(lab, "old", "cat", str(setting)) == other
    assert setting.read_text() == before
    # Only asked for, never tried: a test that fails must not set the computer's clock.
    held = int(says(lab, "old", "sh", "-c", "grep CapEff /proc/self/status").split()[1], 16)
    assert not held >> 25 & 1, "CAP_SYS_TIME"
    assert not held >> 16 & 1, "CAP_SYS_MODULE"


def test_nodes_reach_each_other_and_packages_by_the_gateway(lab: Lab) -> None:
    assert network.answers(network.node_namespace(NAME, "old"), NEW.ip, 22)
    says(lab, "old", "apt-get", "-qq", "update")
    says(lab, "old", "apt-get", "-qq", "install", "--yes", "--no-install-recommends", "hello")
    assert says(lab, "old", "hello") == "Hello, world!"
    answer = says(lab, "old", "curl", "-s", "http://10.77.0.1:8086/status")
    assert json.loads(answer)["state"] in ("ready", "building", "absent", "failed")


def test_the_host_key_is_known_and_no_other_is_taken(lab: Lab) -> None:
    text = lab.known_hosts.read_text()
    lab.known_hosts.write_text(text.replace(OLD.ip, "10.77.0.99").replace("old ", "other "))
    done = lab.ssh("old", ["true"])
    lab.known_hosts.write_text(text)
    assert done.returncode == 255
    assert "verification failed" in done.stderr


def test_commands_run_inside_the_network(lab: Lab) -> None:
    with lab.enter_network(
        ["sh", "-c", "ip -br addr; echo $ANSIBLE_PRIVATE_KEY_FILE"], capture=True
    ) as process:
        output, _ = process.communicate(timeout=10)
    assert "10.77.0.1/24" in output
    assert str(lab.private_key) in output
    assert "veth" not in Path("/proc/net/dev").read_text()


def test_forwarded_ports(lab: Lab) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    other = Lab(NAME, api_port=port)
    other.gateway_start()
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        assert client.recv(10) == b"", "nobody listens on the node yet: closed at once"
    assert any(f"127.0.0.1:{port}" in problem for problem in problems(other.gateway.ports()))
    other.preflight()
    lab.gateway_start()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


@pytest.mark.parametrize("victim", ["nspawn", "supervisor"])
def test_up_after_a_kill(lab: Lab, victim: str) -> None:
    says(lab, "old", "touch", "/root/kept")
    os.kill(pid_of(lab, "old", victim), signal.SIGKILL)
    assert wait_until(lambda: not lab.node("old").running(), 10)
    assert lab.node("old").state() == "stopped"
    assert lab.nodes_up(SPECS) == ["old"]
    says(lab, "old", "test", "-e", "/root/kept")
    assert says(lab, "old", "systemctl", "is-system-running") == "running"


def test_up_after_the_network_was_taken_away(lab: Lab) -> None:
    network.remove(network.lab_namespace(NAME))
    network.remove(network.node_namespace(NAME, "old"))
    lab.network_up()
    lab.gateway_start()
    assert sorted(lab.nodes_up(SPECS)) == ["new", "old"]
    assert network.answers(network.node_namespace(NAME, "new"), OLD.ip, 22)


def test_up_that_was_killed_on_the_way(lab: Lab) -> None:
    lab.node_wipe("new")
    with subprocess.Popen(
        [sys.executable, "-m", "lab", "--lab", NAME, "nodes", "up", "new:debian-13:10.77.0.32"], cwd=CHECKOUT
    ) as process:
        assert wait_until((lab.node("new").folder / "launch.json").exists, 30, pause=0.005)
        process.kill()
    assert "new" in lab.nodes_up(SPECS)
    assert says(lab, "new", "systemctl", "is-system-running") == "running"


def test_a_half_made_node_is_made_anew(lab: Lab) -> None:
    lab.node_wipe("new")
    (lab.node("new").folder / "upper/etc/ssh").mkdir(parents=True)
    assert lab.node("new").state() == "unfinished"
    assert lab.nodes_up(SPECS) == ["new"]


def test_reboot_and_power(lab: Lab) -> None:
    boot = says(lab, "old", "cat", "/proc/sys/kernel/random/boot_id")
    lab.ssh("old", ["systemctl", "reboot"])

    def rebooted() -> bool:
        done = lab.ssh("old", ["cat", "/proc/sys/kernel/random/boot_id"])
        return done.returncode == 0 and done.stdout.strip() != boot

    assert wait_until(rebooted, 60)
    cli("node", "stop", "old")
    assert lab.node("old").state() == "stopped"
    assert "stopping" not in lab.node("old").console().lower().splitlines()[-1:]
    cli("node", "start", "old")
    cli("node", "cut", "old")
    assert not lab.node("old").groups.pids()
    cli("node", "start", "old")
    assert says(lab, "old", "systemctl", "is-system-running") == "running"


def test_another_operating_system_is_refused(lab: Lab) -> None:
    with pytest.raises(InputError, match="wipe it first"):
        lab.nodes_up([NodeSpec("old", "debian-13", OLD.ip)])
    with pytest.raises(InputError, match="same ip"):
        lab.nodes_up([NodeSpec("third", "debian-13", OLD.ip, "52:54:00:00:00:01")])


def test_another_address_is_taken(lab: Lab) -> None:
    moved = NodeSpec("old", OLD.os, "10.77.0.41")
    assert lab.nodes_up([moved, NEW]) == ["old"]
    assert moved.ip in says(lab, "old", "cat", "/etc/hosts")


def test_the_second_of_two_at_once(lab: Lab) -> None:
    with lab.lock():
        done = cli("node", "stop", "old", expect=5)
        assert str(os.getpid()) in done.stderr
        waiting = threading.Thread(target=lambda: cli("--wait", "nodes", "down", "old"))
        waiting.start()
        waiting.join(1)
        assert lab.node("old").running()
    waiting.join(60)
    assert [node.name for node in lab.nodes()] == ["new"]


def test_down_leaves_nothing(lab: Lab) -> None:
    with lab.enter_network(["ssh", "-V"], capture=True) as process:
        process.communicate(timeout=10)
    os.kill(pid_of(lab, "new", "supervisor"), signal.SIGKILL)
    with lab.enter_network(["sleep", "infinity"]) as outlived:
        cli("down")
        assert outlived.wait(10) == -signal.SIGTERM
    assert leftovers() == []
    cli("down")
    assert "no node" in cli("ssh", "old", "true", expect=2).stderr
