# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring the machines of the live registry into the DHCP server; what is not valid changes nothing."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from kubestead.model.atomic import write_atomically
from kubestead.model.pxe_plan import pxe_live_machines, pxe_server_machines
from kubestead.model.pxe_reservations import inline, reservations
from kubestead.model.registry import Registry

from .settings import ServerSettings

_SECONDS = 60


class RefusedError(Exception):
    """The reservations stay as they were; `problems` says why."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def wanted(settings: ServerSettings, registry: Registry) -> str:
    """The reservations of a registry as the DHCP server reads them."""
    records = pxe_server_machines(machine.as_dict() for machine in registry)
    machines, problems = pxe_live_machines(settings.plan, records)
    if problems:
        raise RefusedError(*problems)
    return reservations(settings.dhcp, machines)


def take(settings: ServerSettings, text: str, told: bool = True) -> bool:
    """Put reservations in the place of those that are in force; return whether they are others.

    told: whether the server has read the file since it was written last.
    """
    path = Path(settings.reservations)
    before = path.read_text(encoding="utf-8") if path.exists() else None
    if text == before and told:
        return False
    _check(settings, text)
    write_atomically(path, text, 0o644)
    if problem := _reload(settings.unit):
        if before is not None and before != text:
            write_atomically(path, before, 0o644)
            problem += "; the reservations from before are back" + (
                f", but {again}" if (again := _reload(settings.unit)) else ""
            )
        raise RefusedError(problem)
    return True


def _check(settings: ServerSettings, text: str) -> None:
    """Have the server's own program look at the whole configuration with these reservations."""
    config = Path(settings.config).read_text(encoding="utf-8")
    if settings.include not in config:
        raise RefusedError(f"{settings.config} has no line {settings.include}: run playbooks/pxe_server.yml")
    whole = config.replace(settings.include, inline(settings.dhcp, text))
    handle, name = tempfile.mkstemp(dir=settings.check_in, prefix=".check-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(whole)
        done = _run([part.replace("%s", name) for part in settings.check], KEA_LOCKFILE_DIR="none")
    finally:
        os.unlink(name)
    if done.returncode:
        raise RefusedError(f"{settings.check[0]} refuses the reservations: {_last_words(done)}")


def _reload(unit: str) -> str:
    """Have the server read them, where it runs; return what went wrong. Leases are its own and stay."""
    done = _run(["systemctl", "try-reload-or-restart", unit])
    if done.returncode == 0:
        return ""
    return f"{unit} does not take them (journalctl -u {unit}): {_last_words(done)}"


def _run(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RefusedError(f"`{shlex.join(command)}` cannot be run: {error}") from None


def _last_words(done: subprocess.CompletedProcess[str]) -> str:
    said = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return said[-1] if said else f"it ended with {done.returncode}"


@dataclass(frozen=True)
class Outcome:
    """What became of the last look at the registry, for whoever asks (`kubestead status --server`)."""

    registry: str
    at: str
    machines: int
    in_force: str  # the fingerprint of what the server was told last
    problems: tuple[str, ...] = ()
