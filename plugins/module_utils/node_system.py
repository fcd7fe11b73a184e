# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine has to have before it can become a node: init, control groups, machine-id, packages."""

from __future__ import annotations

import shutil
import typing as t
from pathlib import Path

from . import control_groups, dpkg, host, identity, rpm
from .programs import Runner


def problems(cgroup_v2: bool = False, root: Path = Path("/")) -> list[str]:
    """Sentences about what keeps pods from running here; `cgroup_v2` refuses control groups of version 1."""
    found = []
    if not identity.machine_id(root):
        found.append("/etc/machine-id is empty or missing: systemd-machine-id-setup makes one, then reboot.")
    if not (root / "run/systemd/system").is_dir():
        found.append("The machine's init is not systemd, which kubelet and container runtime are units of.")
    without = control_groups.problem(root)
    if without:
        found.append(without)
    if cgroup_v2 and host.cgroup_version(root) != 2:
        found.append(
            "The machine has control groups of version 1, which the kubelet refuses from Kubernetes 1.35 on. "
            "Boot it with systemd.unified_cgroup_hierarchy=1, or with a newer system."
        )
    return found


def missing_packages(run: Runner, names: t.Sequence[str]) -> list[str]:
    """Those that are not installed; with rpm what another package provides is there, too."""
    if not names:
        return []
    if shutil.which("dpkg-query"):
        _code, out, _err = run(["dpkg-query", "--show", "--showformat", dpkg.QUERY, *names])
        have = dpkg.installed(out)
        return [name for name in names if name not in have]
    query = ["rpm", "--query", "--whatprovides", "--queryformat", rpm.QUERY]
    return [name for name in names if run([*query, name])[0] != 0]
