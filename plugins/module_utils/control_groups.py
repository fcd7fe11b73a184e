# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Control groups: which version, and whether the controllers that a kubelet needs are there."""

from __future__ import annotations

from pathlib import Path

from .host import cgroup_version, read_text

NEEDED = ("cpu", "cpuset", "memory", "pids")


def controllers(root: Path = Path("/")) -> list[str]:
    """The controllers that are switched on."""
    if cgroup_version(root) == 2:
        return sorted((read_text(root / "sys/fs/cgroup/cgroup.controllers") or "").split())
    rows = [line.split() for line in (read_text(root / "proc/cgroups") or "").splitlines()]
    return sorted(row[0] for row in rows if len(row) == 4 and not row[0].startswith("#") and row[3] == "1")


def problem(root: Path = Path("/")) -> str:
    """Nothing, or a sentence about controllers that are missing."""
    there = controllers(root)
    missing = [name for name in NEEDED if name not in there]
    if not missing:
        return ""
    remedy = (
        "On a Raspberry Pi add cgroup_enable=cpuset cgroup_enable=memory cgroup_memory=1 to the one line of "
        "/boot/firmware/cmdline.txt and reboot; elsewhere look for cgroup_disable= in /proc/cmdline."
    )
    return f"control groups without {', '.join(missing)} (there are {', '.join(there) or 'none'}). {remedy}"
