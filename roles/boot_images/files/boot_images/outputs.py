# SPDX-License-Identifier: GPL-3.0-or-later
"""What was built before: folders with a manifest, each replaced as a whole.

`NAME` is a link to `NAME.TIME`. What is being fetched while a new one takes its place stays where it is: the
one before is only taken away by the next.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MANIFEST = "image.json"
_TIME = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True)
class Output:
    """One folder of results; `name` is its path below the destination, such as images/debian-13-amd64."""

    destination: Path
    name: str

    @property
    def link(self) -> Path:
        return self.destination / self.name

    def manifest(self) -> dict[str, Any]:
        """What the present one says of itself; empty if there is none that can be used."""
        try:
            found = json.loads((self.link / MANIFEST).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        if not isinstance(found, dict) or not isinstance(found.get("files"), dict):
            return {}
        there = all(_size(self.link / name) == size for name, size in found["files"].items())
        return found if there else {}

    def stale(self, key: str, max_age_days: int) -> str:
        """Why it has to be built; empty if it is as it should be."""
        found = self.manifest()
        if not found:
            return "it is not there"
        if found.get("key") != key:
            return "what it is made of has changed"
        return too_old(found, max_age_days)

    def begin(self) -> Path:
        """Make an empty folder for a new one."""
        part = self.link.with_name(f"{self.link.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        return part

    def finish(self, part: Path, facts: Mapping[str, Any]) -> None:
        """Write the manifest and put the new one in the place of the present one."""
        created = int(time.time())
        folder = f"{self.link.name}.{time.strftime(_TIME, time.gmtime(created))}"
        files = {path.name: path.stat().st_size for path in sorted(part.iterdir())}
        manifest = {**facts, "created": created, "folder": folder, "files": files}
        (part / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        self.put(part)

    def put(self, part: Path) -> None:
        """Put a finished folder in the place of the present one."""
        folder = json.loads((part / MANIFEST).read_text(encoding="utf-8"))["folder"]
        for path in (part, *part.iterdir()):
            path.chmod(0o755 if path.is_dir() else 0o644)
        target, before = self.link.with_name(folder), self.link.resolve()
        if target.is_dir():
            shutil.rmtree(target)
        part.rename(target)
        fresh = self.link.with_name(f"{self.link.name}.link")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(folder)
        if self.link.is_dir() and not self.link.is_symlink():
            shutil.rmtree(self.link)
        os.replace(fresh, self.link)
        for old in self.link.parent.glob(f"{self.link.name}.*"):
            if old not in (target, before):
                shutil.rmtree(old)


def too_old(manifest: Mapping[str, Any], max_age_days: int) -> str:
    """Say so if it is."""
    days = int((time.time() - manifest.get("created", 0)) / 86400)
    return f"it is {days} days old" if max_age_days and days >= max_age_days else ""


def pack(outputs: list[Output], archive: Path) -> None:
    """Put the present ones into an archive, for the cache."""
    part = archive.with_suffix(".part")
    argv = ["tar", "--create", "--dereference", f"--file={part}", f"--directory={outputs[0].destination}"]
    subprocess.run([*argv, *(output.name for output in outputs)], check=True)
    part.rename(archive)


def unpack(outputs: list[Output], archive: Path, key: str, max_age_days: int) -> bool:
    """Take them from an archive, unless it has others or old ones."""
    part = outputs[0].destination / ".unpacked"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        argv = ["tar", "--extract", "--no-same-owner", f"--file={archive}", f"--directory={part}"]
        if subprocess.run(argv, check=False, capture_output=True).returncode:
            return False
        found = [Output(part, output.name) for output in outputs]
        if any(each.stale(key, max_age_days) for each in found):
            return False
        for output, each in zip(outputs, found, strict=True):
            output.link.parent.mkdir(parents=True, exist_ok=True)
            output.put(each.link)
        return True
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
