# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
"""How far a build is and how long it will take, told once a part and once a minute."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping

from bundle.recipe import Part
from bundle.status import BUILDING, Status, StatusFile

# The parts' expected seconds were measured on two cores.
REFERENCE_CORES = 2
EVERY = 60.0
LINKING = 0.85


def minutes(seconds: float) -> str:
    """A length of time as a person says it."""
    if seconds < 90:
        return f"{max(1, round(seconds / 10)) * 10} s"
    return f"{round(seconds / 60)} min"


def expected(parts: Iterable[Part]) -> float:
    """The seconds that parts take on this computer, before anything was measured."""
    return sum(part.seconds for part in parts) * REFERENCE_CORES / max(1, min(os.cpu_count() or 1, 8))


class Progress:
    """Follows a build through its parts."""

    def __init__(self, parts: list[Part], status: StatusFile, tell: Callable[[str], None]) -> None:
        self.parts, self.status, self.tell = parts, status, tell
        self.totals: Mapping[str, int] = {}
        self.position = 0
        self.fraction = 0.0
        self.spent = 0.0
        self.foreseen = 0.0
        self.part_began = self.told = self.wrote = time.monotonic()

    def begin(self, part: Part, totals: Mapping[str, int]) -> None:
        """A part is begun; ``totals`` comes to say how many packages each part has."""
        self.totals = totals
        self.position += 1
        self.fraction = 0.0
        self.part_began = self.told = time.monotonic()
        self._write(part, "")

    def packages(self, done: int) -> None:
        """So many of the part's packages are compiled, or being compiled."""
        part = self.parts[self.position - 1]
        total = self.totals.get(part.name, 0)
        self.fraction = min(LINKING, LINKING * done / total) if total else 0.0
        now = time.monotonic()
        text = f"{done} of {total} packages" if total else f"{done} packages"
        if now - self.wrote >= 1:
            self._write(part, text)
        if now - self.told >= EVERY:
            self.told = now
            self.tell(f"{self._head(part)} … {text}, about {minutes(self.left())} left")

    def end(self, part: Part) -> None:
        """A part is done."""
        seconds = time.monotonic() - self.part_began
        self.spent += seconds
        self.foreseen += expected([part])
        self.fraction = 1.0
        remaining = self.left()
        tail = f", about {minutes(remaining)} left" if self.position < len(self.parts) else ""
        self.tell(f"{self._head(part)} … {seconds:.0f} s{tail}")

    def left(self) -> float:
        """The seconds that the rest will probably take, judged by how the parts so far went."""
        rest = expected(self.parts[self.position :])
        rest += (1 - self.fraction) * expected(self.parts[self.position - 1 : self.position])
        # What was measured counts for more the more of it there is.
        weight = min(1.0, self.foreseen / 60)
        pace = self.spent / self.foreseen if self.foreseen else 1.0
        return rest * (1 + weight * (pace - 1))

    def _head(self, part: Part) -> str:
        return f"[{self.position}/{len(self.parts)}] {part.name}"

    def _write(self, part: Part, text: str) -> None:
        self.wrote = time.monotonic()
        detail = f"{self._head(part)} {part.version}{': ' if text else ''}{text}"
        self.status.write(Status(BUILDING, f"{self._head(part)}, about {minutes(self.left())} left", detail))
