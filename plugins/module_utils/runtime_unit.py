# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container runtime's systemd unit: is it whole, and does it run with its present configuration?"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Callable, NamedTuple, Sequence

PROPERTIES = (
    "LoadState",
    "LoadError",
    "ActiveState",
    "UnitFileState",
    "FragmentPath",
    "NeedDaemonReload",
    "ExecStart",
    "ActiveEnterTimestampMonotonic",
)

# Runs a command: exit code, output, errors.
Run = Callable[[Sequence[str]], "tuple[int, str, str]"]


class Unit(NamedTuple):
    """A unit as `systemctl show` tells of it."""

    load: str
    error: str
    active: str
    file_state: str
    fragment: str
    needs_reload: bool
    program: str
    since: float
    """When it became active, in seconds of the monotonic clock; 0 when it never did."""

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self.active in ("active", "reloading")

    @property
    def enabled(self) -> bool:
        """Whether it is started at boot."""
        return self.file_state.startswith("enabled")

    def broken(self, root: Path = Path("/")) -> str:
        """Nothing, or what is wrong with the unit itself."""
        if self.load == "masked":
            return "it is masked"
        if self.load != "loaded":
            return f"systemd says {self.load}" + (f": {self.error}" if self.error else "")
        if not self.program:
            return f"{self.fragment} starts nothing"
        if not (root / self.program.lstrip("/")).exists():
            return f"{self.fragment} starts {self.program}, which does not exist"
        return ""

    def unread(self, name: str, root: Path = Path("/")) -> bool:
        """Whether /etc has a unit of that name that systemd goes by only after it was told to read again.

        It notices when a file that it has read changes, not when another one comes to stand before that.
        """
        own = root / "etc/systemd/system" / name
        return (own.exists() or own.is_symlink()) and self.fragment != str(own) and self.load != "masked"

    def older_than(self, paths: Sequence[str]) -> str:
        """The first of these files that was written after the unit had started, or nothing."""
        started = time.time() - (time.monotonic() - self.since)
        for path in paths:
            try:
                written = os.stat(path).st_mtime
            except OSError:
                continue
            # What was written in the future was written by a clock that was wrong.
            if started < written <= time.time():
                return path
        return ""


def parse(shown: str) -> Unit:
    """From `systemctl show` with PROPERTIES."""
    got = dict(line.partition("=")[::2] for line in shown.splitlines() if "=" in line)
    program = re.search(r"path=(\S+) ;", got.get("ExecStart", ""))
    return Unit(
        load=got.get("LoadState", "not-found"),
        error=re.sub(r'^\S+ "?|"$', "", got.get("LoadError", "")).strip(),
        active=got.get("ActiveState", "inactive"),
        file_state=got.get("UnitFileState", ""),
        fragment=got.get("FragmentPath", ""),
        needs_reload=got.get("NeedDaemonReload") == "yes",
        program=program.group(1) if program else "",
        since=int(got.get("ActiveEnterTimestampMonotonic") or 0) / 1e6,
    )


def show(run: Run, name: str) -> Unit:
    """Ask systemd."""
    return parse(run(["systemctl", "show", f"--property={','.join(PROPERTIES)}", "--", name])[1])


def put_aside(path: Path) -> str:
    """Keep a file, or a link, under another name; return that."""
    kept = path.with_name(f"{path.name}.before-kubestead")
    path.rename(kept)
    return str(kept)


def repair(run: Run, name: str, unit: Unit, text: str, root: Path = Path("/")) -> Unit:
    """Make a broken unit whole: what shadows the package's goes aside, then ours takes its place if it must.

    text: a unit that works, for the case that the package's own is broken or gone.
    """
    own = root / "etc/systemd/system" / name
    if own.exists() or own.is_symlink():
        if own.is_symlink() and os.readlink(own) == "/dev/null":
            own.unlink()
        else:
            put_aside(own)
    run(["systemctl", "daemon-reload"])
    now = show(run, name)
    if now.broken(root):
        own.parent.mkdir(parents=True, exist_ok=True)
        own.write_text(text, encoding="utf-8")
        own.chmod(0o644)
        run(["systemctl", "daemon-reload"])
        now = show(run, name)
    return now


def last_words(run: Run, name: str, lines: int = 5) -> str:
    """The end of what the unit has logged, for an error message."""
    _code, out, _err = run(
        ["journalctl", "--unit", name, "--lines", str(lines), "--output", "cat", "--no-pager"]
    )
    return " | ".join(line.strip() for line in out.splitlines() if line.strip())[-1500:]
