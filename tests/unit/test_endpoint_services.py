# SPDX-License-Identifier: GPL-3.0-or-later
"""HAProxy's and keepalived's units and files, with small programs in the place of systemctl and the like."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, NoReturn

import pytest

from kubestead.model import endpoint_services as services
from kubestead.model.endpoint_files import HAPROXY_FILE, KEEPALIVED_FILE
from kubestead.model.host import FileChange


class Machine:
    """What the functions use of an AnsibleModule; programs are those of one folder, calls are noted."""

    def __init__(self, folder: Path, check_mode: bool = False) -> None:
        self.folder, self.check_mode, self.tmpdir = folder, check_mode, str(folder)

    def program(self, name: str, script: str) -> None:
        """Put a program there."""
        path = self.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> {self.folder}/calls\n{script}\n')
        path.chmod(0o755)

    def calls(self, name: str) -> list[str]:
        """What the program was called with."""
        lines = (self.folder / "calls").read_text().splitlines()
        return [line.partition(" ")[2] for line in lines if line.startswith(f"{name} ")]

    def get_bin_path(self, name: str) -> str | None:
        """Where it is."""
        return shutil.which(name, path=str(self.folder / "bin"))

    def run_command(self, command: list[str], **_how: Any) -> tuple[int, str, str]:
        """Run it."""
        path = f"{self.folder}/bin:{os.environ['PATH']}"
        done = subprocess.run(
            [shutil.which(command[0], path=path) or command[0], *command[1:]],
            check=False,
            capture_output=True,
            text=True,
            env={"PATH": path},
        )
        return done.returncode, done.stdout, done.stderr

    def fail_json(self, msg: str) -> NoReturn:
        """End."""
        raise SystemExit(msg)


def systemctl(machine: Machine, active: str, enabled: str, changed: int) -> services.Services:
    """Services of a machine whose units are all like that."""
    machine.program(
        "systemctl",
        f'[ "$1" = show ] && printf "LoadState=loaded\\nActiveState={active}\\nUnitFileState={enabled}\\n'
        f'StateChangeTimestamp=@{changed}\\n" || true',
    )
    return services.Services(machine)


@pytest.mark.parametrize(
    ("unit", "written", "done"),
    [
        (("active", "enabled", 1000), False, []),
        (("active", "enabled", 1000), True, ["reload haproxy"]),
        (("active", "enabled", 999), False, ["reload haproxy"]),
        (("active", "disabled", 1000), False, ["enable haproxy"]),
        (("inactive", "disabled", 0), True, ["enable haproxy", "restart haproxy"]),
        (("failed", "enabled", 1000), False, ["restart haproxy"]),
    ],
)
def test_a_unit_runs_with_the_configuration_that_is_there(
    tmp_path: Path, unit: tuple[str, str, int], written: bool, done: list[str]
) -> None:
    machine = Machine(tmp_path)
    configuration = tmp_path / "haproxy.cfg"
    configuration.touch()
    os.utime(configuration, (1000, 1000))
    found = systemctl(machine, *unit)
    assert found.run("haproxy", str(configuration), written) == done
    assert machine.calls("systemctl")[1:] == [f"{one}.service" for one in done]
    assert found.touched == bool(done)


def test_check_mode_only_tells(tmp_path: Path) -> None:
    machine = Machine(tmp_path, check_mode=True)
    found = systemctl(machine, "inactive", "disabled", 0)
    assert found.run("haproxy", str(tmp_path / "none"), False) == ["enable haproxy", "restart haproxy"]
    assert [call.split()[0] for call in machine.calls("systemctl")] == ["show"]


@pytest.mark.parametrize(
    ("active", "enabled", "done"),
    [
        ("active", "enabled", ["disable --now keepalived"]),
        ("active", "disabled", ["disable --now keepalived"]),
        ("inactive", "enabled", ["disable --now keepalived"]),
        ("failed", "disabled", []),
        ("inactive", "disabled", []),
    ],
)
def test_a_unit_is_stopped_once(tmp_path: Path, active: str, enabled: str, done: list[str]) -> None:
    machine = Machine(tmp_path)
    assert systemctl(machine, active, enabled, 0).stop("keepalived") == done


def test_a_unit_that_does_not_start_tells_what_it_said_last(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.program("systemctl", '[ "$1" = show ] || { echo "Job failed." >&2; exit 1; }')
    machine.program("journalctl", "echo cannot bind socket")
    with pytest.raises(SystemExit, match=r"failed: Job failed\.\nhaproxy: cannot bind socket"):
        services.Services(machine).run("haproxy", str(tmp_path), True)


@pytest.mark.parametrize(
    ("ends", "problem"),
    [
        ("exit 0", ""),
        ("echo a warning >&2; exit 0", ""),
        ("echo one >&2; echo Unknown keyword >&2; exit 5", "keepalived refuses it: Unknown keyword"),
        ("exit 5", "keepalived refuses it: it ended with 5"),
        # keepalived 2.2 of Debian 12
        ("kill -TERM $$", ""),
        ("echo Unknown keyword >&2; kill -TERM $$", "keepalived refuses it: Unknown keyword"),
    ],
)
def test_the_program_that_reads_a_file_is_asked(tmp_path: Path, ends: str, problem: str) -> None:
    machine = Machine(tmp_path)
    machine.program("keepalived", ends)
    found = services.config_problem(machine, FileChange(KEEPALIVED_FILE, None, "text"))
    assert found == (f"{KEEPALIVED_FILE}: {problem}" if problem else "")
    assert not list(tmp_path.glob(".ansible-*"))


def test_a_program_that_is_not_there_is_not_asked(tmp_path: Path) -> None:
    assert services.config_problem(Machine(tmp_path), FileChange(HAPROXY_FILE, None, "text")) == ""


def test_what_the_package_brought_is_known(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    digest = hashlib.md5(b"theirs\n", usedforsecurity=False).hexdigest()
    machine.program("dpkg-query", f'printf "\\n {HAPROXY_FILE} {digest}\\n /etc/other 0 obsolete\\n"')
    assert services.is_default(machine, HAPROXY_FILE, "theirs\n")
    assert not services.is_default(machine, HAPROXY_FILE, "mine\n")
    assert not services.is_default(machine, KEEPALIVED_FILE, "theirs\n")
    assert not services.is_default(machine, "/etc/other", "theirs\n")
