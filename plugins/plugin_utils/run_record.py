# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a run was: its phases, what each host cost, and how it failed."""

from __future__ import annotations

import json
import os
import tempfile
import time
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass

HOST_UNREACHABLE = "host_unreachable"
PHASE_FAILED = "phase_failed"
SOFTWARE_UNREACHABLE = "software_unreachable"
DECLINED = "declined"

HostCounts = t.Dict[str, t.Dict[str, int]]


@dataclass(frozen=True)
class Failure:
    """A failed task. `rescuable`: it stands in a block with a rescue, so that the host may yet go on."""

    kind: str
    host: str
    phase: t.Optional[str]
    task: str
    message: str
    rescuable: bool = False

    def as_dict(self) -> t.Dict[str, t.Optional[str]]:
        """The failure as data, for programs."""
        return {
            "kind": self.kind,
            "host": self.host,
            "phase": self.phase,
            "task": self.task,
            "message": self.message,
        }


@dataclass
class Phase:
    """A phase of the run; several plays may belong to it."""

    name: str
    seconds: float = 0.0
    ok: bool = True


class RunRecord:
    """Notes of a run, taken while it goes."""

    def __init__(self, clock: t.Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started = clock()
        self._phase_started = self._started
        self._phases: t.Dict[str, Phase] = {}
        self.phase: t.Optional[str] = None
        self.failures: t.List[Failure] = []
        self.round_trips: t.Dict[str, int] = {}

    def enter(self, phase: t.Optional[str]) -> None:
        """A play begins; `phase` is the phase that it belongs to, if any."""
        now = self._clock()
        if self.phase is not None:
            self._phases[self.phase].seconds += now - self._phase_started
        self.phase = phase
        self._phase_started = now
        if phase is not None:
            self._phases.setdefault(phase, Phase(phase))

    def count(self, host: str) -> None:
        """A task went to a host and came back."""
        self.round_trips[host] = self.round_trips.get(host, 0) + 1

    def end(self, failed: t.Collection[str]) -> t.Optional[Failure]:
        """The run is over, and these hosts have failed; return the first failure that counts."""
        self.enter(None)
        counting = [failure for failure in self.failures if failure.host in failed]
        first = next((failure for failure in counting if not failure.rescuable), None)
        first = first or next(iter(counting), None)
        for failure in counting:
            if failure.phase in self._phases and (not failure.rescuable or failure is first):
                self._phases[failure.phase].ok = False
        return first

    def passed(self, phase: str) -> bool:
        """Tell whether the run had this phase and nothing failed in it."""
        return phase in self._phases and self._phases[phase].ok

    def summary(self, playbook: str, hosts: HostCounts, failure: t.Optional[Failure]) -> t.Dict[str, t.Any]:
        """The run as data, for programs."""
        return {
            "playbook": playbook,
            "seconds": round(self._clock() - self._started, 1),
            "phases": [
                {"name": phase.name, "seconds": round(phase.seconds, 1), "ok": phase.ok}
                for phase in self._phases.values()
            ],
            "hosts": hosts,
            "failure": None if failure is None else failure.as_dict(),
            "failures": [one.as_dict() for one in self.failures if not one.rescuable],
        }


def write_summary(path: str, summary: Mapping[str, t.Any]) -> None:
    """Write a summary in one step; raises OSError."""
    folder = os.path.dirname(os.path.abspath(path))
    descriptor, temporary = tempfile.mkstemp(prefix=".kubestead-summary.", dir=folder)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump(summary, stream, indent=2, ensure_ascii=False)
            stream.write("\n")
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
