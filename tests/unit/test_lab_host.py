# SPDX-License-Identifier: GPL-3.0-or-later
"""What this computer is, and which process is ours."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from lab import cgroups, folders, host
from lab.errors import LabError
from lab.process import Process, run

V2 = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n"
V1 = """\
tmpfs /sys/fs/cgroup tmpfs rw 0 0
cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0
cgroup /sys/fs/cgroup/systemd cgroup ro,name=systemd 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0
cgroup2 /mnt/other cgroup2 rw 0 0
"""


def test_cgroups() -> None:
    assert cgroups.mode(V2, systemd=True) is cgroups.Mode.SYSTEMD
    assert cgroups.mode(V2, systemd=False) is cgroups.Mode.BARE_V2
    assert cgroups.mode(V1, systemd=True) is cgroups.Mode.BARE_V1
    assert [one.version for one in (cgroups.Mode.SYSTEMD, cgroups.Mode.BARE_V1)] == [2, 1]
    assert [(str(one.path), one.version, one.writable) for one in cgroups.hierarchies(V1)] == [
        ("/sys/fs/cgroup/memory", 1, True),
        ("/sys/fs/cgroup/systemd", 1, False),
        ("/sys/fs/cgroup/unified", 2, True),
    ]


@pytest.mark.parametrize("name", ["lab", "mol-os-prep", "a--b-"])
def test_a_slice_has_no_slice_above_it(name: str) -> None:
    # systemd makes a-b.slice part of a.slice, which nobody would remove.
    assert "-" not in cgroups.slice_of(name)


def test_a_port_in_use_is_named_with_its_holder() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        number = listener.getsockname()[1]
        holder = host.port_holder(number)
        assert holder
        assert holder[0] == os.getpid()
        assert str(os.getpid()) in holder[1]
        port = host.Port(number, "State API", "--api-port")
        assert any(f"127.0.0.1:{number} (State API)" in problem for problem in host.problems((port,)))
        assert not any(str(number) in problem for problem in host.problems((port,), os.getpid()))
    assert host.port_holder(number) is None


def test_all_problems_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("PATH", "/usr/bin/nowhere")
    monkeypatch.setattr(host, "DISK_NODES", 1 << 60)
    monkeypatch.setenv("KUBESTEAD_LAB_HOME", str(tmp_path / "not" / "there"))
    said = "\n".join(host.problems())
    assert "needs root" in said
    assert "apt-get install" in said
    assert "systemd-container" in said
    assert "KUBESTEAD_LAB_HOME" in said
    assert not (tmp_path / "not").exists(), "nothing is changed by looking"


def test_a_process_is_known_by_more_than_its_number(tmp_path: Path) -> None:
    child = subprocess.Popen(["sleep", "60"])
    process = Process.of(child.pid)
    assert process
    process.save(tmp_path / "p.json")
    assert Process.load(tmp_path / "p.json") == process
    assert process.alive()
    assert not Process(child.pid, process.started + 1, process.boot).alive(), "another with the same number"
    assert not Process(child.pid, process.started, "another boot").alive()
    assert process.end()
    child.wait()
    assert not process.alive()
    assert Process.of(child.pid) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}'])
def test_an_unreadable_state_file_is_no_process(tmp_path: Path, text: str) -> None:
    path = tmp_path / "p.json"
    assert Process.load(path) is None
    path.write_text(text)
    assert Process.load(path) is None


def test_a_failed_program_says_what_it_said() -> None:
    with pytest.raises(LabError, match="ended with 3: oh no"):
        run(["sh", "-c", "echo oh no >&2; exit 3"])
    with pytest.raises(LabError, match="not-there is not installed"):
        run(["not-there"])


def test_folders_go_with_what_is_in_them(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    (folder / "b").mkdir(parents=True)
    (folder / "b" / "c").symlink_to("/etc")
    assert folders.mounts_below(folder) == []
    folders.remove(folder)
    assert not folder.exists()
    assert Path("/etc").is_dir()
    folders.remove(folder)
