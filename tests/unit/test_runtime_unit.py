# SPDX-License-Identifier: GPL-3.0-or-later
"""A container runtime's unit: whole, and running with its present configuration."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from kubestead.model import runtime_unit
from kubestead.model.runtime_unit import Unit

SHOWN = """\
LoadState=loaded
LoadError=
ActiveState=active
UnitFileState=enabled
FragmentPath=/usr/lib/systemd/system/containerd.service
NeedDaemonReload=no
ExecStart={ path=/usr/bin/containerd ; argv[]=/usr/bin/containerd ; ignore_errors=no ; start_time=[n/a] }
ActiveEnterTimestampMonotonic=5000000
"""
GONE = 'LoadState=not-found\nLoadError=org.freedesktop.systemd1.NoSuchUnit "Unit x.service not found."\n'


def whole(root: Path) -> Unit:
    """A unit whose program is there."""
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/bin/containerd").touch()
    return runtime_unit.parse(SHOWN)


def test_a_whole_unit(tmp_path: Path) -> None:
    unit = whole(tmp_path)
    assert (unit.running, unit.enabled, unit.needs_reload, unit.since) == (True, True, False, 5.0)
    assert unit.broken(tmp_path) == ""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (SHOWN, "/usr/bin/containerd, which does not exist"),
        (GONE, "not-found: Unit x.service not found."),
        ("LoadState=masked\n", "masked"),
        ("LoadState=loaded\nFragmentPath=/etc/x\n", "/etc/x starts nothing"),
        ("", "not-found"),
    ],
)
def test_broken_units(tmp_path: Path, text: str, told: str) -> None:
    assert told in runtime_unit.parse(text).broken(tmp_path)


def test_a_file_that_came_to_stand_before_the_package_s(tmp_path: Path) -> None:
    own = tmp_path / "etc/systemd/system/containerd.service"
    own.parent.mkdir(parents=True)
    unit = runtime_unit.parse(SHOWN)
    assert not unit.unread("containerd.service", tmp_path)
    own.write_text("[Service]\nExecStart=/nowhere\n", encoding="utf-8")
    assert unit.unread("containerd.service", tmp_path)
    assert not unit._replace(fragment=str(own)).unread("containerd.service", tmp_path)
    own.unlink()
    own.symlink_to("/dev/null")
    assert unit.unread("containerd.service", tmp_path)
    assert not unit._replace(load="masked").unread("containerd.service", tmp_path)


def test_configuration_that_is_newer_than_the_start(tmp_path: Path) -> None:
    unit = runtime_unit.parse(SHOWN)._replace(since=time.monotonic() - 100)
    config = tmp_path / "config.toml"
    assert unit.older_than([str(config)]) == "", "there is none"
    config.touch()
    assert unit.older_than([str(config)]) == str(config)
    os.utime(config, (time.time() - 200, time.time() - 200))
    assert unit.older_than([str(config)]) == ""
    os.utime(config, (time.time() + 9000, time.time() + 9000))
    assert unit.older_than([str(config)]) == "", "written by a clock that was wrong"


class Systemd:
    """`systemctl`, which takes the unit of /etc first and else says what the package's is like."""

    def __init__(self, root: Path, package: str) -> None:
        self.root, self.package = root, package

    def __call__(self, command: Sequence[str]) -> tuple[int, str, str]:
        own = self.root / "etc/systemd/system/containerd.service"
        if command[1] != "show":
            return 0, "", ""
        if own.is_symlink():
            return 0, "LoadState=masked\n", ""
        if own.exists():
            return 0, SHOWN if "good" in own.read_text() else "LoadState=bad-setting\n", ""
        return 0, self.package, ""


@pytest.mark.parametrize(("package", "ours"), [(SHOWN, False), (GONE, True)])
@pytest.mark.parametrize("shadow", ["mask", "text", "none"])
def test_repair(tmp_path: Path, package: str, ours: bool, shadow: str) -> None:
    whole(tmp_path)
    own = tmp_path / "etc/systemd/system/containerd.service"
    own.parent.mkdir(parents=True)
    if shadow == "mask":
        own.symlink_to("/dev/null")
    elif shadow == "text":
        own.write_text("[Service]\nExecStart=\n", encoding="utf-8")
    run = Systemd(tmp_path, package)
    before = runtime_unit.show(run, "containerd.service")
    after = runtime_unit.repair(run, "containerd.service", before, "good\n", tmp_path)
    assert after.broken(tmp_path) == ""
    assert own.exists() == ours
    assert own.with_name("containerd.service.before-kubestead").exists() == (shadow == "text")
