# SPDX-License-Identifier: GPL-3.0-or-later
"""The store against a model of it: whatever is asked for in whatever order, both say the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kubestead.model.boot_decision import INSTALL, LOCAL, MENU, RESCUE_SYSTEM
from kubestead.model.lifecycle import DEADLINES, STATES, TRANSITIONS
from kubestead.store import ConflictError, IllegalTransitionError, StateReport, Store

MACS = ("52:54:00:00:00:01", "52:54:00:00:00:02")
TARGETS = {
    "approve": "approved",
    "install": "install_pending",
    "reinstall": "install_pending",
    "rescue": "rescue",
    "retire": "retired",
}
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
    just_now: bool = False  # the last attempt was handed out in this minute: all of a test is
    overwrite: bool = False
    before_rescue: str | None = None
    rescued: bool = False
    message: str | None = None
    features: dict[str, str] = field(default_factory=dict)
    ahead: float = 0  # seconds that the clock was put forward when it was last heard of, for an expiry

    def may(self, wanted: str, initial: str, locked: bool) -> bool:
        """Whether it may go to another state."""
        if wanted in ("install_pending", "installing") and (self.locked or locked):
            return False
        current = initial if self.state in (None, "discovered") else self.state
        return wanted == current or wanted in TRANSITIONS[current]

    def enter(self, wanted: str) -> None:
        """Come to another state."""
        self.state = wanted
        self.ahead = 0
        self.version += 1
        if wanted != "rescue":
            self.before_rescue, self.rescued = None, False
        if wanted == "installed":
            self.done = self.wish
        if wanted in ("approved", "retired", "provisioning", "ready"):
            self.wish = self.done

    @property
    def wanted(self) -> bool:
        """Whether it is to be installed."""
        return self.wish is not None and self.wish is not self.done


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
            if state == "rescue":
                machine.before_rescue = initial if machine.state in (None, "discovered") else machine.state
                machine.rescued = True
            machine.enter(state)
        machine.message = given["message"]
        machine.features |= given["features"]
        machine.ahead = 0
        self.expected[mac] = machine

    @rule(
        mac=st.sampled_from(MACS),
        action=st.sampled_from(["approve", "install", "reinstall", "rescue", "retire", "lock", "unlock"]),
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
            if self._is_so(machine, action, target):
                return
            if action == "rescue" and machine.state != "rescue":
                machine.before_rescue = initial if machine.state in (None, "discovered") else machine.state
            machine.enter(target)
            machine.message = None
            if action == "rescue":
                machine.rescued = False
            if action in ("install", "reinstall"):
                machine.wish, machine.attempts, machine.just_now = object(), 0, False
                machine.overwrite = action == "reinstall"
            self.kinds.append(("transition", mac, target))
        self.expected[mac] = machine

    @rule(hours=st.sampled_from([0, 0.6, 2, 48]))
    def expire(self, hours: float) -> None:
        """Time passes for machines that say nothing. (The clock does not: later reports are on time.)"""
        seconds = hours * 3600
        late = {
            mac
            for mac, each in self.expected.items()
            if each.ahead + DEADLINES.get(each.state or "", 1e9) <= seconds
        }
        now = datetime.now(timezone.utc) + timedelta(seconds=seconds)
        assert {record.mac for record in self.store.expire(now)} == late
        assert self.store.expire(now) == []
        for mac in sorted(late):
            machine = self.expected[mac]
            if machine.state == "rescue":
                self._leave_rescue(mac, machine, "the time for its rescue has passed")
                machine.ahead = seconds
                continue
            machine.enter("failed")
            self.kinds.append(("deadline", mac, "failed"))

    def _leave_rescue(self, mac: str, machine: Expected, message: str) -> None:
        machine.enter(machine.before_rescue or "approved")
        machine.message = message
        self.kinds.append(("transition", mac, machine.state))

    @rule(
        mac=st.sampled_from(MACS),
        registered=st.sampled_from([True, True, True, False]),
        locked=st.sampled_from([False, False, True]),
    )
    def boot(self, mac: str, registered: bool, locked: bool) -> None:
        """A machine asks what to boot."""
        machine = self.expected.get(mac, Expected())
        given = self.store.hand_out(mac, registered=registered, registry_locked=locked)
        if not registered:
            assert given.action == (MENU if machine.state in (None, "discovered") else LOCAL)
            if machine.state is None:
                machine.enter("discovered")
                machine.message = "it has asked what to boot"
                self.kinds.append(("transition", mac, "discovered"))
                self.expected[mac] = machine
        elif machine.state == "rescue":
            assert given.action == RESCUE_SYSTEM, "asked within ten seconds, it is the same boot"
            if not machine.rescued:
                machine.rescued, machine.message = True, "the rescue system was handed out"
                self.kinds.append(("report", mac, "rescue"))
        elif machine.wanted and not (machine.locked or locked):
            self._boot_installer(mac, machine, given.action, given.attempt)
        else:
            assert given.action == LOCAL

    def _boot_installer(self, mac: str, machine: Expected, action: str, attempt: int) -> None:
        if machine.state not in ("install_pending", "installing", "failed"):
            assert action == LOCAL
            return
        if machine.just_now and machine.state != "failed":
            assert (action, attempt) == (INSTALL, machine.attempts)
            return
        if machine.attempts == 3:
            assert action == LOCAL
            if machine.state != "failed":
                machine.enter("failed")
                machine.message = None
                self.kinds.append(("transition", mac, "failed"))
            return
        machine.attempts += 1
        machine.just_now = True
        assert (action, attempt) == (INSTALL, machine.attempts)
        self.kinds.append(("report" if machine.state == "installing" else "transition", mac, "installing"))
        if machine.state != "installing":
            machine.enter("installing")
        machine.message = (
            f"its boot script was handed out: an installation is asked for, attempt {attempt} of 3"
        )

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
            assert (record.overwrite, record.rescue_from) == (machine.overwrite, machine.before_rescue)
            assert (record.rescued_at is not None) == machine.rescued
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
        if given["action"] == "install":
            state = given["initial"] if machine.state in (None, "discovered") else machine.state
            if state == "rescue":
                state = machine.before_rescue
            if machine.done is not None or state in ("installed", "provisioning", "ready"):
                return IllegalTransitionError
            if machine.state in ("install_pending", "installing") and machine.wanted:
                return None
        if target is None or machine.may(target, given["initial"], given["locked"]):
            return None
        return IllegalTransitionError

    @staticmethod
    def _is_so(machine: Expected, action: str, target: str) -> bool:
        if action == "install":
            return machine.state in ("install_pending", "installing") and machine.wanted
        if action == "rescue":
            return machine.state == "rescue" and not machine.rescued
        return machine.state == target and action != "reinstall"
