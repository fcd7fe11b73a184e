# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry file that people edit in place: a valid edit takes effect, an invalid one changes nothing."""

from __future__ import annotations

import json
import logging
import os
import stat
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from kubestead.model.atomic import write_atomically
from kubestead.model.lifecycle import APPROVED, DISCOVERED
from kubestead.model.machine import Machine
from kubestead.model.machine_checks import is_secret
from kubestead.model.registry import (
    Problem,
    Registry,
    RegistryError,
    RegistryLockedError,
    RegistryUnwritableError,
)
from kubestead.model.registry_lock import locked, unwritable
from kubestead.model.registry_sync import (
    PUSH,
    PUSHED_MARK,
    REFUSE,
    decide,
    difference,
    entry_fingerprint,
    fingerprint,
)

from .logs import outside_requests

log = logging.getLogger(__name__)

Condition = Literal["ok", "missing", "invalid"]

_SHA256_LENGTH = 64
_LOCK_SECONDS = 5

_Stamp = tuple[int, int, int] | None


class EditedMeanwhileError(Exception):
    """The live file is not what whoever wants to replace it has seen; `difference` is a unified diff."""

    def __init__(self, message: str, difference: str) -> None:
        super().__init__(message)
        self.difference = difference


class EntryRefusedError(Exception):
    """The entry that was given for a machine makes no valid registry; `problems` says why."""

    def __init__(self, error: RegistryError) -> None:
        super().__init__(str(error))
        self.problems = [str(problem) for problem in error.problems]


@dataclass(frozen=True)
class Content:
    """The registry in force, and how the file is now. It never changes; a new one takes its place."""

    machines: Mapping[str, Machine]
    condition: Condition = "missing"
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def summary(self) -> dict[str, Any]:
        """What everybody may see of it."""
        return {
            "condition": self.condition,
            "problems": list(self.problems),
            "warnings": list(self.warnings),
        }


class LiveRegistry:
    """The last valid content of the registry file, read anew when the file has changed."""

    def __init__(self, path: Path, last_good: Path) -> None:
        """Read `path`; where it is invalid, the copy `last_good` of its last valid content."""
        self.path = path
        self._last_good = last_good
        self._mark = last_good.with_name(PUSHED_MARK)
        self._lock = threading.Lock()
        self._stamp: _Stamp = (0, 0, 0)  # unlike that of any file, and of none
        self._content = Content({})
        self._written: str | None = None  # the fingerprint of what this process has written last
        self.refresh()
        if self._content.condition == "invalid":
            self._fall_back()

    @property
    def content(self) -> Content:
        """What is in force, as last seen; the file is not looked at."""
        return self._content

    @property
    def condition(self) -> Condition:
        """How the file is: `ok`, `missing` or `invalid`."""
        return self._content.condition

    def machine(self, mac: str) -> Machine | None:
        """The registry's entry for a MAC in normal form."""
        return self.machines().get(mac)

    def machines(self) -> Mapping[str, Machine]:
        """All machines by MAC, in the order of the file."""
        self.refresh()
        return self._content.machines

    def has_changed(self) -> bool:
        """Tell, by a look at the file's time, whether it has to be read anew."""
        return self._look() != self._stamp

    def refresh(self) -> None:
        """Look whether the file has changed, and read it if so."""
        with self._lock, outside_requests():
            stamp = self._look()
            if stamp == self._stamp:
                return
            self._stamp = stamp
            before = self._content
            if stamp is None:
                self._content = Content(before.machines)
                log.warning("there is no registry at %s: %s", self.path, self._consequence())
                return
            registry, problems = self._read()
            if registry is None:
                self._content = Content(before.machines, "invalid", problems)
                log.error("%s is invalid, see above: %s", self.path, self._consequence())
                return
            self._content = Content(registry.machines, "ok", (), tuple(registry.warnings))
            for warning in registry.warnings:
                log.warning("%s", warning)
            log.info("the registry %s is in force with %d machines", self.path, len(registry.machines))
            self._keep(registry)

    def view(self, with_text: bool) -> dict[str, Any]:
        """The file as it is now, and whether it is in force."""
        self.refresh()
        text = self._live_text()
        return {
            "path": str(self.path),
            "text": text if with_text else None,
            "sha256": None if text is None else fingerprint(text),
            **self._content.summary(),
            "pushed_sha256": self._pushed(),
        }

    def replace(self, text: str, expected: str | None, force: bool) -> bool:
        """Put `text` in the place of the file; return whether that changed it.

        It has to be valid (else RegistryError), and the file has to be what the caller has seen: `expected`,
        or without it what was pushed last (else EditedMeanwhileError). The file before stays beside it.
        """
        Registry.parse(text, str(self.path))
        with locked(self.path, _LOCK_SECONDS):
            live = self._live_text()
            decision = decide(text, live, expected or self._pushed(), force, names=("live", "pushed"))
            if decision.action == REFUSE:
                raise EditedMeanwhileError(
                    f"{self.path} has been edited since, and not by you: take over what `difference` shows "
                    "(`kubestead registry pull`), or say `force` to undo it",
                    decision.difference,
                )
            try:
                if decision.action == PUSH:
                    self._put_aside()
                    write_atomically(os.path.realpath(self.path), text)
                    self._written = fingerprint(text)
                write_atomically(self._mark, decision.base + "\n")
            except OSError as error:
                raise unwritable(str(self.path), error) from None
        self.refresh()
        return decision.action == PUSH

    def put_machine(self, mac: str, entry: Mapping[str, Any], expected: str | None = None) -> bool:
        """Give a machine this entry; return whether it is a new one.

        EntryRefusedError if it is no good; EditedMeanwhileError where the one that is there has not the
        fingerprint `expected`.
        """
        new = False

        def change(registry: Registry) -> Registry:
            nonlocal new
            new = mac not in registry.machines
            self._hold_to(expected, registry, mac, entry)
            try:
                return registry.with_machine(mac, entry)
            except RegistryError as error:
                raise EntryRefusedError(error) from None

        self._update(change)
        return new

    def add_features(self, mac: str, features: Sequence[str]) -> list[str]:
        """Give a machine features beside those that it has; return the new ones. RegistryError if that is no
        good; a machine that is not there stays so."""
        new: list[str] = []

        def change(registry: Registry) -> Registry:
            entry = registry.entry(mac)
            if entry is None:
                return registry
            there = list(entry.get("features") or ())
            new[:] = [name for name in features if name not in there]
            return registry.with_machine(mac, {**entry, "features": [*there, *new]}) if new else registry

        self._update(change)
        return new

    def remove_machine(self, mac: str, expected: str | None = None) -> None:
        """Take a machine out of the registry; KeyError if it is not there.

        EditedMeanwhileError where the fingerprint of its entry is not `expected`.
        """

        def change(registry: Registry) -> Registry:
            self._hold_to(expected, registry, mac, None)
            return registry.without_machine(mac)

        self._update(change)

    def _hold_to(
        self, expected: str | None, registry: Registry, mac: str, entry: Mapping[str, Any] | None
    ) -> None:
        live = registry.entry(mac)
        if expected in (None, entry_fingerprint(live)):
            return
        raise EditedMeanwhileError(
            f"the entry of {mac} in {self.path} has been changed since, and not by you: look at it again",
            difference(_entry_text(live), _entry_text(entry)),
        )

    def take_own_edit(self) -> bool:
        """Tell, once, whether the present content was written by this process."""
        text = self._live_text()
        own = text is not None and fingerprint(text) == self._written
        self._written = None
        return own

    def _update(self, change: Callable[[Registry], Registry]) -> None:
        Registry.update(self.path, change, create=True, timeout=_LOCK_SECONDS)
        text = self._live_text()
        self._written = None if text is None else fingerprint(text)
        self.refresh()

    def _read(self) -> tuple[Registry | None, tuple[str, ...]]:
        found: Sequence[Problem]
        try:
            return Registry.load(str(self.path)), ()
        except RegistryError as error:
            found = error.problems
        problems = tuple(str(problem) for problem in found)
        for problem in problems:
            log.error("%s", problem)
        return None, problems

    def _look(self) -> _Stamp:
        try:
            status = os.stat(self.path)
        except OSError:
            return None
        return (status.st_mtime_ns, status.st_size, status.st_ino)

    def _live_text(self) -> str | None:
        # As a registry is read elsewhere; what is no UTF-8 is shown as far as it can be.
        try:
            with open(self.path, encoding="utf-8-sig", errors="replace") as stream:
                return stream.read()
        except OSError:
            return None

    def _pushed(self) -> str | None:
        try:
            mark = self._mark.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            return None
        return mark if len(mark) == _SHA256_LENGTH else None

    def _put_aside(self) -> None:
        real = Path(os.path.realpath(self.path))
        if not real.exists():
            return
        moment = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S.%f")
        mode = stat.S_IMODE(real.stat().st_mode)
        write_atomically(real.with_name(f"{real.name}.{moment}~"), real.read_bytes(), mode)

    def _consequence(self) -> str:
        if self._content.machines:
            return "the last valid one stays in force"
        return "no machine has a configuration"

    def _keep(self, registry: Registry) -> None:
        try:
            registry.save(str(self._last_good))
        except OSError as error:
            log.warning("no copy of the valid registry could be kept: %s", error)

    def _fall_back(self) -> None:
        try:
            registry = Registry.load(str(self._last_good))
        except RegistryError:
            return
        self._content = Content(registry.machines, "invalid", self._content.problems)
        log.warning("the last valid registry is in force, from the copy %s", self._last_good)


def initial_state(machine: Machine | None) -> str:
    """What a machine counts as before it was heard of: one that somebody has registered is approved."""
    return DISCOVERED if machine is None else APPROVED


def _entry_text(entry: Mapping[str, Any] | None) -> str:
    """An entry for a diff; without what is named like a secret."""
    return "" if entry is None else json.dumps(_without_secrets(dict(entry)), indent=2, ensure_ascii=False)


def public_entry(machine: Machine) -> dict[str, Any]:
    """A machine as whoever has a token may see it: without its management controller and secrets."""
    entry = machine.as_dict()
    entry.pop("bmc", None)
    cleaned: dict[str, Any] = _without_secrets(entry)
    return cleaned


def _without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_secrets(inner) for key, inner in value.items() if not _is_hidden(str(key))}
    if isinstance(value, list):
        return [_without_secrets(inner) for inner in value]
    return value


def _is_hidden(key: str) -> bool:
    return is_secret(key) or "credential" in key.lower()


__all__ = [
    "Content",
    "EditedMeanwhileError",
    "EntryRefusedError",
    "LiveRegistry",
    "RegistryError",
    "RegistryLockedError",
    "RegistryUnwritableError",
    "initial_state",
    "public_entry",
]
