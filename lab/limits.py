# SPDX-License-Identifier: GPL-3.0-or-later
"""The one limit of this computer's kernel that nodes share and may outgrow. Looks only; changes nothing.

How many inotify instances root may have is counted over all containers (they have one root). Past the limit
systemd fails in odd places, so a lab that would not fit is refused before it is begun.
"""

from __future__ import annotations

import os
from pathlib import Path

_SETTING = Path("/proc/sys/fs/inotify/max_user_instances")
PER_NODE = 22
"""What a node takes on average: a control plane 32, a worker 18, a machine without Kubernetes 9."""


def in_use() -> int:
    """Count root's inotify instances on this computer."""
    found = 0
    for folder in Path("/proc").glob("[0-9]*/fd"):
        try:
            if folder.parent.stat().st_uid == 0:
                found += sum(os.readlink(entry) == "anon_inode:inotify" for entry in folder.iterdir())
        except OSError:  # the process has ended, or is out of reach
            continue
    return found


def problems(nodes: int) -> list[str]:
    """Return why that many more nodes would not fit."""
    if not nodes:
        return []
    limit, used = int(_SETTING.read_text()), in_use()
    if used + nodes * PER_NODE <= limit:
        return []
    return [
        f"{used} of root's {limit} inotify instances are in use, {nodes} nodes take about "
        f"{nodes * PER_NODE} more; raise the limit: sysctl -w fs.inotify.max_user_instances=1024"
    ]
