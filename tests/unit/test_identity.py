# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines that are taken for one, and control groups."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubestead.model import control_groups, identity

UUID = "4c4c4544-0042-3510-8052-b4c04f4d5231"
ID = "0123456789abcdef0123456789abcdef"


def put(root: Path, name: str, text: str) -> None:
    """A file below the root."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "found"), [(f"{ID}\n", ID), ("uninitialized\n", ""), ("", ""), (ID.upper(), "")]
)
def test_machine_id(tmp_path: Path, text: str, found: str) -> None:
    put(tmp_path, "etc/machine-id", text)
    assert identity.machine_id(tmp_path) == found


def test_a_system_without_an_id(tmp_path: Path) -> None:
    assert identity.machine_id(tmp_path) == ""


def test_a_container_has_no_number_of_its_own(tmp_path: Path) -> None:
    put(tmp_path, "sys/class/dmi/id/product_uuid", UUID.upper() + "\n")
    assert identity.product_uuid(tmp_path) == UUID
    put(tmp_path, "run/systemd/container", "lxc\n")
    assert identity.product_uuid(tmp_path) == ""


def test_clones_are_named_by_what_they_share() -> None:
    machines = {
        "a": {"machine_id": ID, "product_uuid": UUID},
        "b": {"machine_id": ID, "product_uuid": ""},
        "c": {"machine_id": "f" * 32, "product_uuid": UUID},
    }
    assert identity.clones(machines, "machine_id") == [(ID, ["a", "b"])]
    assert identity.clones(machines, "product_uuid") == [(UUID, ["a", "c"])]


@pytest.mark.parametrize(
    "uuid", ["03000200-0400-0500-0006-000700080009", "ffffffff-ffff-ffff-ffff-ffffffffffff"]
)
def test_what_a_maker_writes_into_all_boards_tells_nothing(uuid: str) -> None:
    assert identity.clones({"a": {"product_uuid": uuid}, "b": {"product_uuid": uuid}}, "product_uuid") == []


def test_two_machines_without_an_id_are_no_clones() -> None:
    assert identity.clones({"a": {"machine_id": ""}, "b": {"machine_id": ""}}, "machine_id") == []


def test_controllers_of_version_2(tmp_path: Path) -> None:
    put(tmp_path, "sys/fs/cgroup/cgroup.controllers", "cpuset cpu io pids\n")
    problem = control_groups.problem(tmp_path)
    assert "without memory" in problem
    assert "cmdline.txt" in problem
    put(tmp_path, "sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids\n")
    assert control_groups.problem(tmp_path) == ""


def test_controllers_of_version_1(tmp_path: Path) -> None:
    rows = ["#subsys_name\thierarchy\tnum_cgroups\tenabled"]
    rows += [f"{name}\t1\t1\t{int(name != 'memory')}" for name in ("cpu", "cpuset", "memory", "pids")]
    put(tmp_path, "proc/cgroups", "\n".join(rows) + "\n")
    assert control_groups.controllers(tmp_path) == ["cpu", "cpuset", "pids"]
    assert "without memory" in control_groups.problem(tmp_path)
