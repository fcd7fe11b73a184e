# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reports to the State API from a thread of its own, so that a run never waits for it."""

from __future__ import annotations

import collections
import importlib
import threading
import time
import typing as t
from dataclasses import dataclass, field, replace

from ansible_collections.kubestead.homelab.plugins.module_utils import lifecycle
from ansible_collections.kubestead.homelab.plugins.module_utils.phases import KUBERNETES
from ansible_collections.kubestead.homelab.plugins.module_utils.state_api_client import (
    StateApiClient,
    StateApiError,
    StateApiRefusedError,
)

# Sockets import this at their first use: in the thread it could meet a fork of Ansible's and hang the child.
importlib.import_module("encodings.idna")

_GATHER = 0.2  # seconds in which reports about one machine become one
_BACKOFF = (0.5, 1.0, 2.0, 5.0)
_FLUSH_RETRY = 0.25
_FLUSH_DOWN = 0.5
_UNKNOWN_TOKEN = 401


@dataclass(frozen=True)
class Report:
    """What is to be reported of a machine.

    `name` is what people call it. `settle` says that a machine which was ready before the run, is so again.
    `kubernetes` is how that feature stands now; None leaves it. `data` is what is kept of it, by key.
    """

    name: str
    mac: str
    state: str
    phase: t.Optional[str] = None
    progress: t.Optional[int] = None
    message: t.Optional[str] = None
    error: t.Optional[str] = None
    settle: bool = False
    kubernetes: t.Optional[str] = None
    data: t.Mapping[str, t.Any] = field(default_factory=dict)

    def like(self, other: Report) -> bool:
        """Whether a later one says the same, so that it stands for both."""
        return (self.state, self.phase) == (other.state, other.phase)

    def after(self, earlier: Report) -> Report:
        """Return this one with what was to be kept by an earlier one that it stands for."""
        return replace(self, data={**earlier.data, **self.data}) if earlier.data else self


class Reporter:
    """A queue of reports and the thread that sends them, in order for each machine.

    A report replaces a waiting one of the same state and phase. While the API cannot be reached, or does not
    know the token, the reports wait; what it refuses is dropped and counted. A machine of which it refuses
    something is somebody else's for now (it is being installed, it is retired): nothing but the beginning of
    another phase is reported of it until that is taken again.
    """

    def __init__(self, connect: t.Callable[[], StateApiClient]) -> None:
        """`connect` makes a client; it may raise StateApiError, and is then called again later."""
        self._connect = connect
        self._client: t.Optional[StateApiClient] = None
        self._waiting: t.Dict[str, t.Deque[Report]] = {}
        self._changed = threading.Condition()
        self._busy = False
        self._flushing = False
        self._failures = 0  # in a row
        self._ready_before: t.Optional[t.Set[str]] = None
        self._refused_macs: t.Set[str] = set()
        self._thread: t.Optional[threading.Thread] = None
        self.sent = 0
        self.refused = 0
        self.first_refusal = ""
        self.unreachable = ""

    def add(self, report: Report) -> None:
        """Take a report; returns at once."""
        with self._changed:
            queue = self._waiting.setdefault(report.mac, collections.deque())
            if queue and queue[-1].like(report):
                report = report.after(queue.pop())
            queue.append(report)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="kubestead-state-api", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def flush(self, seconds: float) -> bool:
        """Send what is waiting, for at most so many seconds; tell whether nothing is left.

        Where the API has never answered, one attempt more is all, and a short one.
        """
        started = time.monotonic()
        with self._changed:
            if self._thread is None:
                return True
            self._flushing = True
            failures = self._failures
            self._changed.notify_all()
            while self._waiting or self._busy:
                down = self._failures > 0 and self.sent + self.refused == 0
                rest = started + (min(seconds, _FLUSH_DOWN) if down else seconds) - time.monotonic()
                if rest <= 0 or (down and self._failures > failures):
                    break
                self._changed.wait(rest)
            self._flushing = False
            return not self._waiting

    @property
    def waiting(self) -> int:
        """How many reports have not been sent."""
        with self._changed:
            return sum(len(queue) for queue in self._waiting.values())

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    self._changed.wait()
                self._pause()
            self._send_all()

    def _pause(self) -> None:
        """Wait for more reports to gather, or after a failure; a flush cuts it short. Needs the lock."""
        delay = _BACKOFF[min(self._failures, len(_BACKOFF)) - 1] if self._failures else _GATHER
        started = time.monotonic()
        was_flushing = self._flushing
        while True:
            limit = delay if not self._flushing else (_FLUSH_RETRY if self._failures and was_flushing else 0)
            rest = started + limit - time.monotonic()
            if rest <= 0:
                return
            self._changed.wait(rest)

    def _send_all(self) -> None:
        while True:
            with self._changed:
                if not self._waiting:
                    return
                mac, queue = next(iter(self._waiting.items()))
                report = queue.popleft()
                if not queue:
                    del self._waiting[mac]
                self._busy = True
            withheld = report.mac in self._refused_macs and report.state != lifecycle.PROVISIONING
            failure, refusal = ("", "") if withheld else self._send(report)
            with self._changed:
                self._busy = False
                if failure:
                    self._failures += 1
                    self.unreachable = failure
                    queue = self._waiting.setdefault(mac, collections.deque())
                    if queue and queue[0].like(report):
                        report = queue.popleft().after(report)
                    queue.appendleft(report)
                elif not withheld:
                    self._failures = 0
                    self.sent += not refusal
                    self.refused += bool(refusal)
                    self.first_refusal = self.first_refusal or refusal
                self._changed.notify_all()
                if failure:
                    return

    def _send(self, report: Report) -> t.Tuple[str, str]:
        """Send one report; return why it could not be sent, or why it was refused, or twice nothing."""
        taken = False
        try:
            if self._client is None:
                self._client = self._connect()
            if self._ready_before is None:
                self._ready_before = self._ask_ready(self._client)
            if report.settle and report.mac in self._ready_before:
                report = replace(report, state=lifecycle.READY, progress=100)
            self._client.report_state(
                report.mac,
                report.state,
                phase=report.phase,
                progress=report.progress,
                message=report.message,
                features={KUBERNETES: report.kubernetes} if report.kubernetes else None,
                error=report.error,
            )
            taken = True
            self._refused_macs.discard(report.mac)
            for key, value in report.data.items():
                self._client.put_data(report.mac, key, value)
        except StateApiRefusedError as error:
            if error.temporary:
                return str(error), ""
            if error.status == _UNKNOWN_TOKEN:
                self._client = None  # the run may be about to bring the right one
                return str(error), ""
            if not taken:  # a value that is refused says nothing of its state
                self._refused_macs.add(report.mac)
            return "", f"{report.name}: {error.detail or error}"
        except StateApiError as error:
            self._client = None  # token and CA may be others by the next attempt
            return str(error), ""
        return "", ""

    @staticmethod
    def _ask_ready(client: StateApiClient) -> t.Set[str]:
        try:
            states = client.states()
        except StateApiRefusedError as error:
            if error.temporary or error.status == _UNKNOWN_TOKEN:
                raise
            return set()
        return {
            mac
            for mac, known in (states.items() if isinstance(states, dict) else ())
            if isinstance(known, dict) and known.get("state") == lifecycle.READY
        }
