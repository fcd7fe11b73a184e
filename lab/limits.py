# SPDX-License-Identifier: GPL-3.0-or-later
"""The one setting of this computer's kernel that nodes share and outgrow.

How many inotify instances root may have is counted over all containers (they have one root), and the usual
128 is soon used up (a control plane has 32); systemd then fails in odd places. It is raised while there is a
lab, and put back.
"""

from __future__ import annotations

import json
from pathlib import Path

from lab import network
from lab.process import write_atomic

WANTED = 1024
_SETTING = Path("/proc/sys/fs/inotify/max_user_instances")
_BEFORE = Path("/run/kubestead-limits.json")  # gone after a reboot, as what was set is


def value() -> int:
    """Return what is in force."""
    return int(_SETTING.read_text())


def problems() -> list[str]:
    """Return why the limit could not be raised."""
    if value() >= WANTED:
        return []
    try:
        with _SETTING.open("r+"):
            return []
    except OSError as error:
        return [
            f"fs.inotify.max_user_instances is {value()}, expected at least {WANTED}, and cannot be raised "
            f"from here ({error.strerror}); on the computer that this container runs on: "
            f"sysctl -w fs.inotify.max_user_instances={WANTED}"
        ]


def raise_limit() -> str:
    """Raise it where it is low; return what to tell the user."""
    before = value()
    if before >= WANTED:
        return ""
    if not _BEFORE.exists():
        write_atomic(_BEFORE, json.dumps({"fs.inotify.max_user_instances": before}) + "\n")
    _SETTING.write_text(f"{WANTED}\n")
    return f"fs.inotify.max_user_instances of this computer: {before} → {WANTED}, until its last lab is down"


def restore() -> None:
    """Put it back when no lab is left on this computer."""
    if not _BEFORE.exists() or any(network.NAMESPACES.glob("ks-*")):
        return
    if value() == WANTED:  # else someone else has set it since: theirs stays
        _SETTING.write_text(f"{json.loads(_BEFORE.read_text())['fs.inotify.max_user_instances']}\n")
    _BEFORE.unlink()
