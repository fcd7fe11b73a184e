# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a system has its root: a disk, memory, or what a container has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kubestead.model.root_system import find_root

DISK = "proc /proc proc rw 0 0\n/dev/vda2 / ext4 rw,relatime 0 0\ntmpfs /run tmpfs rw 0 0\n"
OVERLAY = "{0} overlay / overlay rw,lowerdir=/l,upperdir={1}/upper,workdir=/w 0 0\n"


@pytest.mark.parametrize(
    ("mounts", "cmdline", "kind"),
    [
        ("rootfs / rootfs rw 0 0\n" + DISK, "ro quiet", "other"),
        (DISK, "kubestead=rescue kubestead.mac=52:54:00:77:00:21", "memory"),
        (DISK, "kubestead=rescued", "other"),
        ("tmpfs / tmpfs rw 0 0\n", "", "memory"),
        ("none / squashfs ro 0 0\n", "", "memory"),
        (OVERLAY.format("tmpfs /run/live\\040it tmpfs rw 0 0\n", "/run/live\\040it"), "", "memory"),
        (OVERLAY.format("tmpfs /run tmpfs rw 0 0\n", "/var/lib/machines"), "", "other"),
        ("pool/ROOT / zfs rw 0 0\n", "", "disk"),
    ],
)
def test_by_what_the_kernel_says(tmp_path: Path, mounts: str, cmdline: str, kind: str) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mounts").write_text(mounts)
    (tmp_path / "proc/cmdline").write_text(cmdline)
    assert find_root(tmp_path).kind == kind  # there is no /dev/vda2 below that folder


def test_a_file_system_of_the_kernels_own_naming(tmp_path: Path) -> None:
    number = tmp_path.stat().st_dev
    (tmp_path / f"sys/dev/block/{os.major(number)}:{os.minor(number)}").mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mounts").write_text("/dev/root / ext4 rw 0 0\n")
    (tmp_path / "proc/cmdline").write_text("ro")
    assert find_root(tmp_path) == ("/dev/root", "ext4", "disk")


def test_this_computer_runs_from_something() -> None:
    assert find_root(Path("/")).kind in ("disk", "other")
