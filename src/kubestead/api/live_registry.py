# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry file that people edit in place: a valid edit takes effect, an invalid one changes nothing."""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kubestead.model.machine import Machine
from kubestead.model.registry import Problem, Registry, RegistryError

from .logs import outside_requests

log = logging.getLogger(__name__)
_SECRET = re.compile(r"pass(word|wd|phrase)?$|secret|token|credential|private_?key", re.IGNORECASE)

_Stamp = tuple[int, int, int] | None


class LiveRegistry:
    """The last valid content of the registry file, read anew when the file has changed."""

    def __init__(self, path: Path, last_good: Path) -> None:
        """Read `path`; where it is invalid, the copy `last_good` of its last valid content."""
        self.path = path
        self._last_good = last_good
        self._lock = threading.Lock()
        self._stamp: _Stamp = (0, 0, 0)  # unlike that of any file, and of none
        self._registry: Registry | None = None
        self.condition = "missing"
        self.refresh()
        if self._registry is None and self.condition == "invalid":
            self._fall_back()

    def machine(self, mac: str) -> Machine | None:
        """The registry's entry for a MAC in normal form."""
        return self.machines().get(mac)

    def machines(self) -> Mapping[str, Machine]:
        """All machines by MAC, in the order of the file."""
        self.refresh()
        registry = self._registry
        return registry.machines if registry else {}

    def refresh(self) -> None:
        """Look whether the file has changed, and read it if so."""
        with self._lock, outside_requests():
            stamp = self._look()
            if stamp == self._stamp:
                return
            self._stamp = stamp
            if stamp is None:
                self.condition = "missing"
                log.warning("there is no registry at %s: %s", self.path, self._consequence())
                return
            registry = self._read()
            if registry is None:
                self.condition = "invalid"
                log.error("%s is invalid, see above: %s", self.path, self._consequence())
                return
            self._registry, self.condition = registry, "ok"
            for warning in registry.warnings:
                log.warning("%s", warning)
            log.info("the registry %s is in force with %d machines", self.path, len(registry.machines))
            self._keep(registry)

    def _read(self) -> Registry | None:
        problems: Sequence[Problem]
        try:
            return Registry.load(str(self.path))
        except RegistryError as error:
            problems = error.problems
        for problem in problems:
            log.error("%s", problem)
        return None

    def _look(self) -> _Stamp:
        try:
            status = os.stat(self.path)
        except OSError:
            return None
        return (status.st_mtime_ns, status.st_size, status.st_ino)

    def _consequence(self) -> str:
        return "the last valid one stays in force" if self._registry else "no machine has a configuration"

    def _keep(self, registry: Registry) -> None:
        try:
            registry.save(str(self._last_good))
        except OSError as error:
            log.warning("no copy of the valid registry could be kept: %s", error)

    def _fall_back(self) -> None:
        try:
            self._registry = Registry.load(str(self._last_good))
        except RegistryError:
            return
        log.warning("the last valid registry is in force, from the copy %s", self._last_good)


def public_entry(machine: Machine) -> dict[str, Any]:
    """A machine as whoever has the token may see it: without its management controller and secrets."""
    entry = machine.as_dict()
    entry.pop("bmc", None)
    cleaned: dict[str, Any] = _without_secrets(entry)
    return cleaned


def _without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_secrets(inner) for key, inner in value.items() if not _SECRET.search(str(key))}
    if isinstance(value, list):
        return [_without_secrets(inner) for inner in value]
    return value
