# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run kubeadm: one at a time, with a log, and to an end.

The lock is inherited by kubeadm itself. So when a run is killed while its kubeadm goes on, the next run waits
for that one instead of working against it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
import subprocess
import time
import typing as t
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

LOCK = Path("/run/lock/kubestead-kubeadm.lock")
LOG_LIMIT = 1_000_000

_TOKEN = re.compile(r"\b[a-z0-9]{6}\.[a-z0-9]{16}\b")
_KEY = re.compile(r"(?<!sha256:)\b[0-9a-f]{64}\b")
_ERROR = re.compile(
    r"^\s*(?:\[ERROR [^\]]+\]:.*|error: .*|error execution phase .*|couldn't .*)$", re.MULTILINE
)


class BusyError(RuntimeError):
    """Another kubeadm holds the lock."""


@dataclass(frozen=True)
class Outcome:
    """How a program ended."""

    code: int
    output: str
    timed_out: bool = False

    def problem(self) -> str:
        """Return the lines that say what was wrong, else the last ones."""
        if self.timed_out:
            return "it did not end in time; last lines: " + " | ".join(self.output.strip().splitlines()[-4:])
        if self.code < 0:
            return f"it was ended by signal {-self.code}"
        found = [line.strip() for line in _ERROR.findall(self.output)]
        return " | ".join(dict.fromkeys(found or self.output.strip().splitlines()[-4:]))


def redact(text: str) -> str:
    """Take bootstrap tokens and certificate keys out of a text; pins (sha256:…) stay."""
    return _KEY.sub("<key>", _TOKEN.sub("<token>", text))


@contextlib.contextmanager
def lock(wait: float, path: Path = LOCK) -> t.Iterator[int]:
    """Hold the lock and yield its descriptor; wait for its holder up to `wait` seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + wait
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise BusyError(
                        f"another kubeadm has been at work here for more than {wait:g} seconds"
                    ) from None
                time.sleep(0.5)
        yield handle
    finally:
        os.close(handle)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and its group: asked first, by force after two seconds."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(2)
            return


def run_logged(
    argv: t.Sequence[str], log: Path, timeout: float, keep: t.Sequence[int] = (), pass_lock: int | None = None
) -> Outcome:
    """Run `argv`, its output appended to `log` (0600), straight, so that the program does not die with us.

    `keep` are descriptors that it reads, `pass_lock` is the lock that it holds as long as it lives.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    descriptors = [*keep, *([pass_lock] if pass_lock is not None else [])]
    with os.fdopen(os.open(log, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "r+b", buffering=0) as file:
        os.fchmod(file.fileno(), 0o600)
        if file.seek(0, os.SEEK_END) > LOG_LIMIT:
            file.truncate(0)
        stamp = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        file.write(f"--- {stamp} {' '.join(argv)}\n".encode())
        begin = file.seek(0, os.SEEK_END)
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=descriptors,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )
        timed_out = False
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            timed_out = True
            _end(process)
        file.seek(begin)
        output = redact(file.read().decode("utf-8", "replace"))
        file.truncate(begin)
        file.write(output.encode())
        file.write(f"--- exit code {process.returncode}{', ended by us: too slow' * timed_out}\n".encode())
    return Outcome(process.returncode, output, timed_out)


def config_in_memory(text: str) -> int:
    """Return a descriptor of an anonymous file with `text`: a configuration that must not reach the disk."""
    handle = os.memfd_create("kubestead-kubeadm", os.MFD_CLOEXEC)
    os.write(handle, text.encode())
    return handle


def running(words: t.Sequence[str], proc: Path = Path("/proc")) -> list[int]:
    """Return processes of this machine (not of its containers) whose command line begins with `words`."""
    own = os.readlink(proc / "self/ns/pid")
    found = []
    for folder in proc.iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            line = (folder / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
            first = [os.path.basename(line[0]), *line[1 : len(words)]]
            if first == list(words) and os.readlink(folder / "ns/pid") == own:
                found.append(int(folder.name))
    return found


def end_processes(pids: t.Sequence[int], grace: float = 2.0) -> None:
    """End processes gracefully, and by force those that are left after `grace` seconds."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + grace
        while time.monotonic() < deadline and any(Path(f"/proc/{pid}").exists() for pid in pids):
            time.sleep(0.1)


def end_late(words: t.Sequence[str], patience: float) -> None:
    """Wait for processes whose command line begins with `words`; end those that are not done in time."""
    deadline = time.monotonic() + patience
    while left := running(words):
        if time.monotonic() > deadline:
            end_processes(left)
            return
        time.sleep(0.2)
