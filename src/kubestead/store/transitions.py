# SPDX-License-Identifier: GPL-3.0-or-later
"""What a report, an operator's action and a missed deadline make of a machine, without a database."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from kubestead.model.lifecycle import (
    ACTIONS,
    APPROVED,
    DISCOVERED,
    FAILED,
    INSTALL_STATES,
    INSTALLED,
    PROVISIONING,
    READY,
    RESCUE,
    RETIRED,
    TransitionError,
    check_transition,
    is_legal,
)

from .errors import ConflictError, IllegalTransitionError
from .records import Event, MachineRecord, StateReport

Deadlines = Mapping[str, float]  # of a state in seconds; 0 or not there: it has none


def reported(
    before: MachineRecord | None, report: StateReport, now: datetime, deadlines: Deadlines
) -> tuple[MachineRecord, Event]:
    """The machine after a report, with the event; or IllegalTransitionError."""
    record = before or unseen(report.mac, now)
    previous = record.state
    if report.install_id is not None and record.is_to_be_installed:
        _check_installation(record, report.install_id)
    if previous != report.state:
        _check(
            _counts_as(previous, report.initial),
            report.state,
            before,
            locked=record.locked,
            registry_locked=report.registry_locked,
        )
    record = replace(
        record,
        state=report.state,
        phase=report.phase,
        progress=report.progress,
        message=report.message,
        error=report.error,
        features={**record.features, **report.features} if report.features else record.features,
        updated_at=now,
        since=record.since if previous == report.state else now,
        deadline_at=deadline_of(report.state, now, deadlines),
        version=record.version if previous == report.state else record.version + 1,
        address=report.address or record.address,
    )
    if report.state == RESCUE and previous != RESCUE:  # whoever reports it is in it already
        record = replace(record, rescue_from=_counts_as(previous, report.initial), rescued_at=now)
    event = Event(
        id=0,
        at=now,
        kind="report" if previous == report.state else "transition",
        mac=report.mac,
        state=report.state,
        previous_state=previous,
        phase=report.phase,
        progress=report.progress,
        message=report.message,
        error=report.error,
        features=report.features,
        actor=report.actor,
        correlation_id=report.correlation_id,
    )
    return (record if previous == report.state else settled(record)), event


def acted(
    before: MachineRecord | None,
    mac: str,
    action: str,
    now: datetime,
    deadlines: Deadlines,
    *,
    actor: str,
    correlation_id: str | None = None,
    expected_version: int | None = None,
    initial: str = "discovered",
    registry_locked: bool = False,
) -> tuple[MachineRecord, Event] | None:
    """The machine after an operator's action, with the event; None where it is so already."""
    if action not in ACTIONS:
        raise ValueError(f'"{action}" is no action, expected one of {", ".join(ACTIONS)}')
    record = before or unseen(mac, now)
    if expected_version is not None and expected_version != record.version:
        raise ConflictError(
            f"the machine {mac} has changed since you looked at it: it is {record.state or 'not seen yet'}"
            f"{' and locked' if record.locked else ''}, version {record.version}, not {expected_version}; "
            "look again, then decide",
            before,
        )
    wanted = ACTIONS[action]
    event = Event(0, now, action, mac, record.state, record.state, actor=actor, correlation_id=correlation_id)
    if wanted is None:
        locked = action == "lock"
        if record.locked == locked:
            return None
        return replace(record, locked=locked, version=record.version + 1), event
    # Asked for a second time, a reinstallation is a new one: the state before it is as good as any.
    current = _counts_as(record.state, initial)
    if action == "install":
        _check_new(record, current, before)
        if current in INSTALL_STATES and record.is_to_be_installed:
            return None
    if action == "reinstall" and current == wanted:
        current = APPROVED
    _check(current, wanted, before, locked=record.locked, registry_locked=registry_locked)
    again = action in ("install", "reinstall") or (action == "rescue" and record.rescued_at is not None)
    if record.state == wanted and not again:
        return None
    changed = replace(
        record,
        state=wanted,
        phase=None,
        progress=None,
        message=None,
        error=None,
        updated_at=now,
        since=now,
        deadline_at=deadline_of(wanted, now, deadlines),
        version=record.version + 1,
    )
    if action in ("install", "reinstall"):
        changed = replace(
            changed,
            desired_install_id=secrets.token_hex(16),
            install_attempts=0,
            overwrite=action == "reinstall",
            handed_out_at=None,
        )
    if action == "rescue":
        changed = replace(
            changed, rescue_from=record.rescue_from if record.state == RESCUE else current, rescued_at=None
        )
    return settled(changed), replace(event, kind="transition", state=wanted)


def expired(before: MachineRecord, now: datetime, deadlines: Deadlines) -> tuple[MachineRecord, Event]:
    """A machine whose deadline has passed, with the event. What it last said stays beside the error.

    One that was to be rescued, and has not booted, or has not been booted since, is as it was before.
    """
    if before.state == RESCUE:
        return after_rescue(before, now, deadlines, "the time for its rescue has passed")
    seconds = int((now - before.updated_at).total_seconds())
    silence = f"{seconds // 60} min" if seconds >= 60 else f"{seconds} s"
    last = before.error or before.message or before.phase
    error = f"no report for {silence} in {before.state}; the last said: {last or 'nothing more'}"
    record = replace(
        before,
        state=FAILED,
        error=error,
        updated_at=now,
        since=now,
        deadline_at=None,
        version=before.version + 1,
    )
    event = Event(
        0, now, "deadline", record.mac, FAILED, before.state, record.phase, record.progress, None, error
    )
    return record, event


def after_rescue(
    before: MachineRecord, now: datetime, deadlines: Deadlines, message: str
) -> tuple[MachineRecord, Event]:
    """A machine whose rescue is over, as it was before, with the event."""
    state = before.rescue_from or (INSTALLED if before.completed_install_id else APPROVED)
    record = replace(
        before,
        state=state,
        phase=None,
        progress=None,
        message=message,
        error=None,
        updated_at=now,
        since=now,
        deadline_at=deadline_of(state, now, deadlines),
        version=before.version + 1,
        rescue_from=None,
        rescued_at=None,
    )
    return record, Event(0, now, "transition", record.mac, state, RESCUE, message=message)


def unseen(mac: str, now: datetime) -> MachineRecord:
    return MachineRecord(mac, None, None, None, None, None, {}, now)


def _counts_as(state: str | None, initial: str) -> str:
    """What decides which state may follow: whoever writes a machine into the registry has approved it."""
    return initial if state is None or state == DISCOVERED else state


def deadline_of(state: str, now: datetime, deadlines: Deadlines) -> datetime | None:
    seconds = deadlines.get(state, 0)
    return now + timedelta(seconds=seconds) if seconds else None


def _check(
    current: str, wanted: str, before: MachineRecord | None, *, locked: bool, registry_locked: bool
) -> None:
    try:
        check_transition(current, wanted, locked or registry_locked)
    except TransitionError as error:
        message = str(error)
        if registry_locked and not locked and is_legal(current, wanted):
            message = (
                f'the registry has locked the machine and it cannot go to {wanted}; take "locked" off there'
            )
        raise IllegalTransitionError(message, before) from error


def _check_new(record: MachineRecord, current: str, before: MachineRecord | None) -> None:
    """Refuse to install a machine that has a system: that is a reinstallation, which names the machine."""
    state = (record.rescue_from or current) if current == RESCUE else current
    if record.completed_install_id is None and state not in (INSTALLED, PROVISIONING, READY):
        return
    raise IllegalTransitionError(
        f"the machine has a system already (it is {state}): to have its disk erased and a new one installed, "
        "ask for `reinstall`",
        before,
    )


def _check_installation(record: MachineRecord, install_id: str) -> None:
    """Refuse what the system of an earlier installation says: the disk has still, or again, been booted."""
    if install_id != record.desired_install_id:
        raise IllegalTransitionError(
            "a new installation is asked for: what the machine's system before it reports does not count",
            record,
        )


def settled(record: MachineRecord) -> MachineRecord:
    """Keep the books of installation and rescue for a machine that has just come to its state."""
    if record.state != RESCUE:
        record = replace(record, rescue_from=None, rescued_at=None)
    if record.state == INSTALLED:
        return replace(record, completed_install_id=record.desired_install_id)
    if record.state in (APPROVED, RETIRED, PROVISIONING, READY):
        # The wish to install it is withdrawn; or it is in use as it is, and must not be installed when it
        # fails and is booted one day.
        return replace(record, desired_install_id=record.completed_install_id)
    return record
