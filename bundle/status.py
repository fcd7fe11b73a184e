# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
"""How a build tells how far it is: lines for a person, a small file for the server and for other programs."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bundle import places
from kubestead.model.atomic import write_atomically

ABSENT = "absent"
BUILDING = "building"
READY = "ready"
FAILED = "failed"


@dataclass(frozen=True)
class Status:
    """What ``/status`` of the server says."""

    state: str
    progress: str = ""
    detail: str = ""

    def as_dict(self) -> dict[str, str]:
        """As JSON has it."""
        return {"state": self.state, "progress": self.progress, "detail": self.detail}


def _started(pid: int) -> str:
    """When a process started, in the kernel's own count; empty when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


class StatusFile:
    """The file through which a build is followed from outside."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, status: Status) -> None:
        """Replace the file's content."""
        pid = os.getpid()
        data: dict[str, Any] = {
            **status.as_dict(),
            "pid": pid,
            "started": _started(pid),
            "time": int(time.time()),
        }
        write_atomically(self.path, json.dumps(data).encode() + b"\n", parents=True)

    def read(self) -> Status | None:
        """What the build said last; ``None`` when nothing was said. A builder that was killed has failed."""
        try:
            data = json.loads(self.path.read_text(encoding="utf-8"))
            status = Status(str(data["state"]), str(data["progress"]), str(data["detail"]))
            alive = bool(data["started"]) and _started(int(data["pid"])) == data["started"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if status.state == BUILDING and not alive:
            return Status(
                FAILED, status.progress, "the build was stopped; start it again, it goes on where it was"
            )
        return status


def current(folder: Path, status_file: Path | None = None) -> Status:
    """The state of a bundle folder.

    ``building`` while a build is under way, also one that adds to a bundle that is complete without it.
    """
    said = StatusFile(status_file or folder / places.STATUS).read()
    if said is not None and said.state == BUILDING:
        return said
    if (folder / places.MANIFEST).is_file():
        last = f"the last build failed: {said.detail}" if said is not None and said.state == FAILED else ""
        return Status(READY, "", last)
    if said is not None and said.state == FAILED:
        return said
    return Status(ABSENT, "", f"no bundle in {folder}: make one with './deploy.sh bundle --from modules'")
