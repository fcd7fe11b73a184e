# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Waiting until machines are in a state, by the State API's event stream."""

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass, field

from . import lifecycle
from .state_api_client import (
    StateApiClient,
    StateApiRefusedError,
    StateApiUnreachableError,
    StreamEvent,
)
from .state_api_machines import View, called, condition, last_words

# From these no machine goes on by itself.
_HOPELESS = (lifecycle.FAILED, lifecycle.RETIRED)
_BACKOFF = (0.2, 0.5, 1.0, 2.0, 5.0)


@dataclass
class Watch:
    """The machines that are waited for, by MAC, and what is known of them.

    One that was seen in a wanted state counts as there, also when it has gone on since.
    """

    macs: t.Sequence[str]
    states: t.Collection[str]
    views: t.Dict[str, View] = field(default_factory=dict)
    arrived: t.Set[str] = field(default_factory=set)
    error: str = ""
    """Why the stream is broken, while it is."""

    def take(self, event: StreamEvent) -> None:
        """Learn from an event of the stream."""
        data = event.data if isinstance(event.data, dict) else {}
        if event.event == "change":
            for one in data.get("events") or ():
                self._see(one.get("mac"), one.get("state"))
        self.learn(data.get("machines") or {})

    def learn(self, views: t.Mapping[str, View]) -> None:
        """Learn how machines are."""
        for mac, view in views.items():
            if mac in self.macs:
                self.views[mac] = view
                self._see(mac, view.get("state"))

    def _see(self, mac: t.Any, state: t.Any) -> None:
        if mac in self.macs and state in self.states:
            self.arrived.add(mac)

    @property
    def missing(self) -> t.List[str]:
        """Those that have not come to a wanted state yet."""
        return [mac for mac in self.macs if mac not in self.arrived]

    @property
    def hopeless(self) -> t.List[str]:
        """Those of the missing that will not come to it unless somebody does something."""
        return [mac for mac in self.missing if self.views.get(mac, {}).get("state") in _HOPELESS]

    @property
    def over(self) -> bool:
        """Whether there is nothing more to wait for."""
        return not self.missing or bool(self.hopeless)

    def verdict(self, seconds: float) -> str:
        """Nothing when all are there, else who is not, why, and what to look at."""
        if not self.missing:
            return ""
        hopeless = self.hopeless
        late = [mac for mac in self.missing if mac not in hopeless]
        parts = [self._end_of(mac) for mac in hopeless]
        if late:
            wanted = " or ".join(self.states)
            since = "Not there yet" if hopeless else f"Not {wanted} after {seconds:g} seconds"
            told = "; ".join(
                f"{called(mac, self.views.get(mac))} {condition(self.views.get(mac))}" for mac in late
            )
            parts.append(f"{since}: {told}.")
        if self.error:
            parts.append(f"The State API's event stream is broken: {self.error}.")
        return " ".join(parts)

    def _end_of(self, mac: str) -> str:
        view = self.views[mac]
        name = called(mac, view)
        if view.get("state") == lifecycle.RETIRED:
            return f"{name} is retired; approve it first."
        phase = f" in phase {view['phase']}" if view.get("phase") else ""
        words = last_words(view)
        message = str(view.get("message") or "")
        said = f"; it last said: {message}" if message and message != words else ""
        return f"{name} failed{phase}: {words or 'it gave no reason'}{said}."


def wait(client: StateApiClient, watch: Watch, deadline: float, last_id: t.Optional[int] = None) -> None:
    """Follow the stream until the watch is over or the time (on the monotonic clock) is.

    last_id: the event before the first that may count.
    A stream that breaks is opened again where it broke off. Raises StateApiRefusedError when the API says no.
    """
    failures = 0
    while not watch.over and time.monotonic() < deadline:
        try:
            with client.stream(watch.macs, last_id, deadline) as stream:
                for event in stream:
                    failures, watch.error = 0, ""
                    last_id = event.id if event.id is not None else last_id
                    watch.take(event)
                    if watch.over:
                        return
        except StateApiUnreachableError as error:
            watch.error = str(error)
        except StateApiRefusedError as error:
            if not error.temporary:
                raise
            watch.error = str(error)
        if time.monotonic() < deadline:
            pause = _BACKOFF[min(failures, len(_BACKOFF) - 1)]
            failures += 1
            time.sleep(min(pause, max(0.0, deadline - time.monotonic())))  # nobody tells when it is back
