# SPDX-License-Identifier: GPL-3.0-or-later
"""Running programs, and knowing which process is ours."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from kubestead.model.atomic import write_atomically
from lab.errors import LabError


def run(
    argv: Sequence[str],
    *,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 120,
) -> str:
    """Run a program, return what it printed; a failure says what was run and what it said."""
    try:
        done = subprocess.run(
            list(argv), input=stdin, env=env, timeout=timeout, check=False, capture_output=True, text=True
        )
    except FileNotFoundError as error:
        raise LabError(f"{argv[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"`{' '.join(argv)}` was not done after {timeout:.0f} s") from error
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-8:]
        raise LabError(f"`{' '.join(argv)}` ended with {done.returncode}: " + " / ".join(said))
    return done.stdout


def boot_id() -> str:
    """Return what is different after each boot of this computer."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start_time(pid: int) -> int | None:
    """Return when a process was started, in ticks since boot; None when there is none (or only a zombie)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


@dataclass(frozen=True)
class Process:
    """A process that we started: a number alone may belong to another by now."""

    pid: int
    started: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """Return the process that has this number now."""
        started = start_time(pid)
        return None if started is None else cls(pid, started, boot_id())

    @classmethod
    def load(cls, path: Path) -> Process | None:
        """Read what `save` wrote; None when there is nothing readable."""
        try:
            values = json.loads(path.read_text())
            return cls(int(values["pid"]), int(values["started"]), str(values["boot"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def save(self, path: Path) -> None:
        """Write it down, at once or not at all."""
        write_atomically(path, json.dumps(asdict(self)) + "\n")

    def alive(self) -> bool:
        """Say whether that very process still runs."""
        return self.boot == boot_id() and start_time(self.pid) == self.started

    def end(self, patience: float = 5) -> bool:
        """Ask it to end, insist after `patience` seconds; say whether it is gone."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not self.alive():
                return True
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return True
            if wait_until(lambda: not self.alive(), patience):
                return True
        return False


def wait_until(condition: Callable[[], bool], seconds: float, pause: float = 0.05) -> bool:
    """Poll a condition until it holds or the time is over."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(pause)
    return True
