# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Waiting until machines are in a state, by the State API's event stream, and what to tell meanwhile."""

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass, field

from . import lifecycle
from .provisioning import installations
from .state_api_client import (
    StateApiClient,
    StateApiRefusedError,
    StateApiUnreachableError,
    StreamEvent,
)
from .state_api_machines import View, called, condition, find_mac, last_words

# From these no machine goes on by itself.
_HOPELESS = (lifecycle.FAILED, lifecycle.RETIRED)
_BACKOFF = (0.2, 0.5, 1.0, 2.0, 5.0)
Clock = t.Callable[[], float]

# The options of the module and of the action, beside those of the State API.
OPTIONS: t.Dict[str, t.Dict[str, t.Any]] = {
    "machines": {"type": "list", "elements": "str", "required": True},
    "states": {
        "type": "list",
        "elements": "str",
        "choices": list(lifecycle.STATES),
        "default": [lifecycle.READY],
    },
    "timeout": {"type": "int", "default": 3600},
    "installed_phase": {"type": "str"},
    "grace": {"type": "int"},
    "progress": {"type": "bool", "default": True},
    "interval": {"type": "float", "default": 5},
}


@dataclass
class Watch:
    """The machines that are waited for, by MAC, and what is known of them.

    One that was seen in a wanted state counts as there, also when it has gone on since. `installed_phase`:
    one that is `installed` counts only when that phase was reported, such as the one of its first boot.
    `grace`: None ends the watch when one machine fails. Else the others are waited for; one that fails has so
    many seconds to begin anew, and one that had failed before has all the time there is.
    """

    macs: t.Sequence[str]
    states: t.Collection[str]
    installed_phase: t.Optional[str] = None
    grace: t.Optional[float] = None
    clock: Clock = time.monotonic
    views: t.Dict[str, View] = field(default_factory=dict)
    arrived: t.Set[str] = field(default_factory=set)
    error: str = ""
    """Why the stream is broken, while it is."""
    _failed_before: t.Dict[str, t.Any] = field(default_factory=dict)
    _failed_at: t.Dict[str, float] = field(default_factory=dict)

    def take(self, event: StreamEvent) -> None:
        """Learn from an event of the stream."""
        data = event.data if isinstance(event.data, dict) else {}
        if event.event == "change":
            for one in data.get("events") or ():
                self._see(one.get("mac"), one.get("state"), one.get("phase"))
        self.learn(data.get("machines") or {})

    def learn(self, views: t.Mapping[str, View]) -> None:
        """Learn how machines are."""
        for mac, view in views.items():
            if mac in self.macs:
                if mac not in self.views and view.get("state") == lifecycle.FAILED:
                    self._failed_before[mac] = view.get("since")
                self.views[mac] = view
                self._see(mac, view.get("state"), view.get("phase"))

    def _see(self, mac: t.Any, state: t.Any, phase: t.Any) -> None:
        if mac not in self.macs:
            return
        if state != lifecycle.FAILED:
            self._failed_at.pop(mac, None)
        elif mac not in self._failed_at:
            self._failed_at[mac] = self.clock()
        booted = state != lifecycle.INSTALLED or self.installed_phase in (None, phase)
        if state in self.states and booted:
            self.arrived.add(mac)

    @property
    def missing(self) -> t.List[str]:
        """Those that have not come to a wanted state yet."""
        return [mac for mac in self.macs if mac not in self.arrived]

    @property
    def hopeless(self) -> t.List[str]:
        """Those of the missing that will not come to it unless somebody does something."""
        return [mac for mac in self.missing if self._is_hopeless(mac)]

    def _is_hopeless(self, mac: str) -> bool:
        view = self.views.get(mac, {})
        if view.get("state") not in _HOPELESS:
            return False
        if self.grace is None or view.get("state") == lifecycle.RETIRED:
            return True
        if mac in self._failed_before and self._failed_before[mac] == view.get("since"):
            return False
        return self.clock() >= self._failed_at.get(mac, 0.0) + self.grace

    @property
    def over(self) -> bool:
        """Whether there is nothing more to wait for."""
        hopeless = self.hopeless
        return (
            len(hopeless) == len(self.missing)
            if self.grace is not None
            else bool(hopeless) or not self.missing
        )

    @property
    def look_again(self) -> t.Optional[float]:
        """When, on the clock, a machine becomes hopeless by time alone; None where none can."""
        if self.grace is None:
            return None
        now = self.clock()
        ends = (self._failed_at[mac] + self.grace for mac in self.missing if mac in self._failed_at)
        return min((end for end in ends if end > now), default=None)

    def reasons(self, seconds: float) -> t.Dict[str, str]:
        """Why each of the missing is not there, by MAC."""
        hopeless = self.hopeless
        wanted = " or ".join(self.states)
        return {
            mac: self._end_of(mac)
            if mac in hopeless
            else f"Not {wanted} after {seconds:g} seconds: "
            f"{called(mac, self.views.get(mac))} {condition(self.views.get(mac))}."
            for mac in self.missing
        }

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


class Progress:
    """What to tell a person while machines are waited for: a line when a machine enters a state or a phase,
    and about a share that grows no more than one in `interval` seconds."""

    def __init__(self, interval: float = 5.0, clock: Clock = time.monotonic) -> None:
        self._interval = interval
        self._clock = clock
        self._told: t.Dict[str, t.Tuple[t.Any, ...]] = {}
        self._told_at: t.Dict[str, float] = {}
        self._error = ""

    def lines(self, watch: Watch) -> t.List[str]:
        """What is new since it was asked last."""
        found = []
        for mac in watch.macs:
            view = watch.views.get(mac, {})
            step = (view.get("state"), view.get("phase"))
            told = (*step, view.get("progress"), last_words(view))
            before = self._told.get(mac)
            if told == before or not view.get("state"):
                continue
            now = self._clock()
            if before and before[:2] == step and now < self._told_at[mac] + self._interval:
                continue
            self._told[mac], self._told_at[mac] = told, now
            found.append(self._line(mac, view))
        if watch.error and not self._error:
            found.append(f"The State API's event stream is broken ({watch.error}); it is opened again.")
        self._error = watch.error
        return found

    @staticmethod
    def _line(mac: str, view: View) -> str:
        share = view.get("progress")
        parts = [f"{called(mac, view):<20} {view['state']}"]
        parts += [str(view["phase"])] if view.get("phase") else []
        parts += [f"{share} %"] if share is not None else []
        words = last_words(view)
        return ", ".join(parts) + (f": {words}" if words else "")


def begin(
    client: StateApiClient, names: t.Iterable[str], states: t.Collection[str], **how: t.Any
) -> t.Tuple[Watch, int]:
    """A watch for the machines of these names or MACs, as they are now, and the last event before it."""
    newest = client.events(limit=1)
    views = client.machines()
    watch = Watch(list(dict.fromkeys(find_mac(views, name) for name in names)), states, **how)
    watch.learn(views)
    return watch, newest[0]["id"] if newest else 0


def outcome(watch: Watch, seconds: float) -> t.Dict[str, t.Any]:
    """What the module and the action of the name hand back."""
    return {
        "changed": False,
        "machines": watch.views,
        "missing": [called(mac, watch.views.get(mac)) for mac in watch.missing],
        "failed_machines": [called(mac, watch.views.get(mac)) for mac in watch.hopeless],
        "reasons": watch.reasons(seconds),
        "installations": installations(watch.views),
    }


def wait(
    client: StateApiClient,
    watch: Watch,
    deadline: float,
    last_id: t.Optional[int] = None,
    tell: t.Callable[[Watch], None] = lambda watch: None,
) -> None:
    """Follow the stream until the watch is over or the time (on the monotonic clock) is.

    last_id: the event before the first that may count. tell: is called after all that was learnt.
    A stream that breaks is opened again where it broke off. Raises StateApiRefusedError when the API says no.
    """
    failures = 0
    while not watch.over and time.monotonic() < deadline:
        again = watch.look_again
        try:
            with client.stream(
                watch.macs, last_id, deadline if again is None else min(deadline, again)
            ) as stream:
                for event in stream:
                    failures, watch.error = 0, ""
                    last_id = event.id if event.id is not None else last_id
                    watch.take(event)
                    tell(watch)
                    if watch.over:
                        return
                    if watch.look_again != again:
                        break
            continue
        except StateApiUnreachableError as error:
            watch.error = str(error)
        except StateApiRefusedError as error:
            if not error.temporary:
                raise
            watch.error = str(error)
        tell(watch)
        if time.monotonic() < deadline:
            pause = _BACKOFF[min(failures, len(_BACKOFF) - 1)]
            failures += 1
            time.sleep(min(pause, max(0.0, deadline - time.monotonic())))  # nobody tells when it is back
