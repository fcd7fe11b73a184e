# SPDX-License-Identifier: GPL-3.0-or-later
"""The store against a model of it: whatever is asked for in whatever order, both say the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kubestead.model.lifecycle import DEADLINES, STATES, TRANSITIONS
from kubestead.store import ConflictError, IllegalTransitionError, StateReport, Store

MACS = ("52:54:00:00:00:01", "52:54:00:00:00:02")
TARGETS = {"approve": "approved", "reinstall": "install_pending", "retire": "retired"}
Outcome = type[Exception] | None


@dataclass
class Expected:
    """A machine as the rules of the lifecycle, read by hand, make it."""

    state: str | None = None
    locked: bool = False
    version: int = 0
    wish: object = None  # which installation is wanted, and which was done: any value will do
    done: object = None
    attempts: int = 0
    message: str | None = None
    features: dict[str, str] = field(default_factory=dict)

    def may(self, wanted: str, initial: str, locked: bool) -> bool:
        """Whether it may go to another state."""
        if wanted in ("install_pending", "installing") and (self.locked or locked):
            return False
        current = initial if self.state in (None, "discovered") else self.state
        return wanted == current or wanted in TRANSITIONS[current]

    def enter(self, wanted: str) -> None:
        """Come to another state."""
        self.state = wanted
        self.version += 1
        if wanted == "installing":
            self.attempts += 1
        if wanted == "installed":
            self.done = self.wish
        if wanted in ("approved", "retired"):
            self.wish = self.done


class StoreModel(RuleBasedStateMachine):
    """Reports, actions and deadlines in any order."""

    def __init__(self, open_store: Callable[[], Store]) -> None:
        """Nothing is known yet; `open_store` gives an empty store."""
        super().__init__()
        self._open = open_store
        self.expected: dict[str, Expected] = {}
        self.kinds: list[tuple[str, str, str | None]] = []

    @initialize()
    def start(self) -> None:
        """Take an empty store."""
        self.store = self._open()
        self.first = self.store.last_event_id()

    @rule(
        mac=st.sampled_from(MACS),
        state=st.sampled_from(STATES),
        initial=st.sampled_from(["approved", "discovered"]),
        features=st.dictionaries(
            st.sampled_from(["gpu", "nfs"]),
            st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=3),
        ),
        message=st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5),
        locked=st.booleans(),
    )
    def report_anything(self, **given: Any) -> None:
        """A machine reports, whatever it is."""
        self._report(**given)

    @rule(mac=st.sampled_from(MACS), pick=st.integers(0, 99))
    def go_on(self, mac: str, pick: int) -> None:
        """A machine goes to a state that it may go to."""
        machine = self.expected.get(mac, Expected())
        ways = [state for state in STATES if machine.may(state, "approved", False)]
        self._report(
            mac=mac,
            state=ways[pick % len(ways)],
            initial="approved",
            features={},
            message=None,
            locked=False,
        )

    def _report(self, **given: Any) -> None:
        mac, state, initial, locked = given["mac"], given["state"], given["initial"], given["locked"]
        machine = self.expected.get(mac, Expected())
        report = StateReport(
            mac,
            state,
            message=given["message"],
            features=given["features"],
            initial=initial,
            registry_locked=locked,
        )
        allowed = state == machine.state or machine.may(state, initial, locked)
        assert self._outcome(lambda: self.store.record_state(report)) is (
            None if allowed else IllegalTransitionError
        )
        if not allowed:
            return
        self.kinds.append(("report" if state == machine.state else "transition", mac, state))
        if state != machine.state:
            machine.enter(state)
        machine.message = given["message"]
        machine.features |= given["features"]
        self.expected[mac] = machine

    @rule(
        mac=st.sampled_from(MACS),
        action=st.sampled_from(["approve", "reinstall", "retire", "lock", "unlock"]),
        initial=st.sampled_from(["approved", "discovered"]),
        off=st.sampled_from([None, 0, 0, 1, -1]),
        locked=st.sampled_from([False, False, True]),
    )
    def act_somehow(self, **given: Any) -> None:
        """An operator acts, with or without the version that was seen."""
        self._act(**given)

    @rule(
        mac=st.sampled_from(MACS),
        way=st.sampled_from(
            [
                ("reinstall",),
                ("reinstall", "installing"),
                ("reinstall", "installing", "install_pending", "installing"),
                ("reinstall", "installing", "installed"),
                ("reinstall", "approve"),
                ("reinstall", "installing", "failed", "approved"),
                ("reinstall", "retire", "approve"),
            ]
        ),
    )
    def install(self, mac: str, way: tuple[str, ...]) -> None:
        """An installation is asked for, and goes some way."""
        for step in way:
            if step in TARGETS:
                self._act(mac=mac, action=step, initial="approved", off=0, locked=False)
            else:
                self._report(mac=mac, state=step, initial="approved", features={}, message="m", locked=False)

    def _act(self, **given: Any) -> None:
        mac, action, initial, off = given["mac"], given["action"], given["initial"], given["off"]
        machine = self.expected.get(mac, Expected())
        outcome = self._expected_outcome(machine, given)
        version = None if off is None else machine.version + off

        def act() -> object:
            return self.store.act(
                mac,
                action,
                actor="ada",
                expected_version=version,
                initial=initial,
                registry_locked=given["locked"],
            )

        assert self._outcome(act) is outcome
        if outcome is not None:
            return
        target = TARGETS.get(action)
        if target is None:
            if machine.locked == (action == "lock"):
                return
            machine.locked = action == "lock"
            machine.version += 1
            self.kinds.append((action, mac, machine.state))
        else:
            if machine.state == target and action != "reinstall":
                return
            machine.enter(target)
            machine.message = None
            if action == "reinstall":
                machine.wish, machine.attempts = object(), 0
            self.kinds.append(("transition", mac, target))
        self.expected[mac] = machine

    @rule(hours=st.sampled_from([0, 0.6, 2, 48]))
    def expire(self, hours: float) -> None:
        """Time passes for machines that say nothing. (The clock does not: later reports are on time.)"""
        seconds = hours * 3600
        late = {mac for mac, each in self.expected.items() if DEADLINES.get(each.state or "", 1e9) <= seconds}
        now = datetime.now(timezone.utc) + timedelta(seconds=seconds)
        assert {record.mac for record in self.store.expire(now)} == late
        assert self.store.expire(now) == []
        for mac in sorted(late):
            self.expected[mac].enter("failed")
            self.kinds.append(("deadline", mac, "failed"))

    @invariant()
    def both_say_the_same(self) -> None:
        """The machines and their history are as expected."""
        found = self.store.machines()
        assert set(found) == set(self.expected)
        for mac, machine in self.expected.items():
            record = found[mac]
            assert (record.state, record.locked, record.version) == (
                machine.state,
                machine.locked,
                machine.version,
            )
            assert (record.install_attempts, record.features) == (machine.attempts, machine.features)
            assert record.message == machine.message
            assert (record.desired_install_id is None) == (machine.wish is None)
            assert (record.desired_install_id == record.completed_install_id) == (
                machine.wish == machine.done
            )
            assert (record.deadline_at is not None) == (machine.state in DEADLINES)
            assert self.store.machine(mac) == record
        events = self.store.events(self.first)
        assert [(event.kind, event.mac, event.state) for event in events] == self.kinds

    @staticmethod
    def _outcome(call: Callable[[], object]) -> Outcome:
        try:
            call()
        except (ConflictError, IllegalTransitionError) as error:
            return type(error)
        return None

    @staticmethod
    def _expected_outcome(machine: Expected, given: dict[str, Any]) -> Outcome:
        if given["off"]:
            return ConflictError
        target = TARGETS.get(given["action"])
        if target is None or machine.may(target, given["initial"], given["locked"]):
            return None
        return IllegalTransitionError
