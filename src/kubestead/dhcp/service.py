# SPDX-License-Identifier: GPL-3.0-or-later
"""The service that follows the live registry: an edit reaches DHCP in a second or two.

It looks at the file's time each second rather than wait for the kernel to tell: no edit is missed while one
is being taken, and an editor may replace the file, its folder or a link to it.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path

from kubestead.api.logs import set_up_logs
from kubestead.exit_codes import ExitCode
from kubestead.model.atomic import write_atomically
from kubestead.model.registry import Registry, RegistryError
from kubestead.model.registry_sync import fingerprint

from .reservations import Outcome, RefusedError, take, wanted
from .settings import SETTINGS, ServerSettings, ServerSettingsError

log = logging.getLogger("kubestead.dhcp")

OUTCOME = Path("/run/pxe-reservations/outcome.json")
LOOK_SECONDS = 1.0
AGAIN_SECONDS = 30.0

_Stamp = tuple[int, int, int] | None


class Follower:
    """Keeps one server's reservations as one registry has them."""

    def __init__(self, settings: ServerSettings, outcome: Path) -> None:
        """Nothing is looked at yet."""
        self._settings, self._outcome = settings, outcome
        self._stamp: _Stamp = (0, 0, 0)  # unlike that of any file, and of none
        self._last = known_outcome(outcome)
        self.failed = False

    def has_changed(self) -> bool:
        """Tell whether the registry has been written since it was read."""
        return self._look() != self._stamp

    def follow(self) -> None:
        """Read the registry and take it over; what is wrong is logged and written down."""
        self._stamp = self._look()
        path = self._settings.registry
        in_force = self._last.in_force if self._last else None
        machines = self._last.machines if self._last else 0
        problems: tuple[str, ...] = ()
        try:
            if self._stamp is None:
                raise RefusedError(f"there is no registry at {path}")
            registry = Registry.load(path)
            text = wanted(self._settings, registry)
            mark = fingerprint(text)
            changed = take(self._settings, text, told=in_force in (None, mark))
            in_force, machines = mark, len(registry)
            if changed:
                log.info("%s is in force in DHCP (%s): %d machines", path, self._settings.dhcp, machines)
        except RegistryError as error:
            problems = tuple(str(problem) for problem in error.problems)
        except RefusedError as error:
            problems = error.problems
        except OSError as error:
            problems = (str(error),)
        self.failed = bool(problems)
        if problems and (self._last is None or problems != self._last.problems):
            for problem in problems:
                log.error("%s", problem)
            log.error("the reservations of %s stay as they were", self._settings.unit)
        self._keep(Outcome(path, _now(), machines, in_force or "", problems))

    def _keep(self, outcome: Outcome) -> None:
        self._last = outcome
        try:
            write_atomically(self._outcome, json.dumps(asdict(outcome)) + "\n", 0o644)
        except OSError as error:
            log.warning("what became of it cannot be written down: %s", error)

    def _look(self) -> _Stamp:
        try:
            status = os.stat(self._settings.registry)
        except OSError:
            return None
        return (status.st_mtime_ns, status.st_size, status.st_ino)


def known_outcome(path: Path = OUTCOME) -> Outcome | None:
    """What the service wrote down last; None where it has not run since the computer was switched on."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return Outcome(**{**values, "problems": tuple(values["problems"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Follow the registry until told to stop; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m kubestead.dhcp", description=__doc__)
    parser.add_argument("--settings", type=Path, default=SETTINGS, metavar="FILE", help="%(default)s")
    parser.add_argument("--outcome", type=Path, default=OUTCOME, metavar="FILE", help="%(default)s")
    parser.add_argument("--once", action="store_true", help="take over what there is, and end")
    options = parser.parse_args(arguments)
    set_up_logs("INFO")
    try:
        settings = ServerSettings.load(options.settings)
        if not (settings.registry and settings.reservations):
            raise ServerSettingsError(
                f"{options.settings} names no live registry, or a server without reservations"
            )
    except (OSError, ServerSettingsError) as error:
        print(f"kubestead.dhcp: {error}", file=sys.stderr)
        return ExitCode.LACKING
    follower = Follower(settings, options.outcome)
    follower.follow()
    if options.once:
        return ExitCode.FAILED if follower.failed else ExitCode.DONE
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    _go_on(follower, stop)
    return ExitCode.DONE


def _go_on(follower: Follower, stop: threading.Event) -> None:
    program, waited = _program(), 0.0
    while not stop.wait(LOOK_SECONDS):
        if _program() != program:  # a newer release was installed: systemd starts that
            return
        waited += LOOK_SECONDS
        if follower.has_changed() or (follower.failed and waited >= AGAIN_SECONDS):
            waited = 0.0
            follower.follow()


def _program() -> str:
    return os.path.realpath(Path(sys.executable).parent)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
