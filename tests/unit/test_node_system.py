# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine has to have before it can become a node."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from plugins.module_utils import node_system


def machine(root: Path, cgroup_version: int = 2) -> Path:
    """A machine that has everything."""
    for folder in ("etc", "run/systemd/system", "sys/fs/cgroup", "proc"):
        (root / folder).mkdir(parents=True)
    (root / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n", encoding="utf-8")
    if cgroup_version == 2:
        (root / "sys/fs/cgroup/cgroup.controllers").write_text("cpu cpuset memory pids\n", encoding="utf-8")
    else:
        rows = "".join(f"{name}\t1\t1\t1\n" for name in ("cpu", "cpuset", "memory", "pids"))
        (root / "proc/cgroups").write_text(f"#subsys_name\n{rows}", encoding="utf-8")
    return root


def test_a_machine_that_has_everything(tmp_path: Path) -> None:
    """Nothing is wrong with it."""
    assert node_system.problems(True, machine(tmp_path)) == []


def test_control_groups_of_version_1_are_refused_on_request(tmp_path: Path) -> None:
    """The kubelet takes them up to 1.34."""
    root = machine(tmp_path, cgroup_version=1)
    assert node_system.problems(False, root) == []
    (problem,) = node_system.problems(True, root)
    assert "systemd.unified_cgroup_hierarchy=1" in problem


def test_all_that_is_missing_is_named_at_once(tmp_path: Path) -> None:
    """Each with what to do."""
    root = machine(tmp_path)
    (root / "etc/machine-id").write_text("uninitialized\n", encoding="utf-8")
    (root / "run/systemd/system").rmdir()
    (root / "sys/fs/cgroup/cgroup.controllers").write_text("cpu cpuset pids\n", encoding="utf-8")
    text = "\n".join(node_system.problems(False, root))
    for word in ("systemd-machine-id-setup", "init is not systemd", "cgroup_enable=memory"):
        assert word in text


@pytest.mark.parametrize("tool", ["dpkg-query", "rpm"])
def test_packages_that_are_not_installed(tool: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By dpkg in one question; by rpm in one for each, since others may provide it."""
    asked: list[Sequence[str]] = []

    def run(argv: Sequence[str], stdin: str | None = None, timeout: float = 30) -> tuple[int, str, str]:
        asked.append(argv)
        if tool == "rpm":
            return (0 if argv[-1] == "ethtool" else 1), "", ""
        return 1, "ethtool\tinstall\tinstalled\t1:6.1-1\n", "no packages found matching conntrack"

    monkeypatch.setattr(shutil, "which", lambda name: name if name == tool else None)
    assert node_system.missing_packages(run, ["ethtool", "conntrack"]) == ["conntrack"]
    assert len(asked) == (1 if tool == "dpkg-query" else 2)
    assert node_system.missing_packages(run, []) == []
