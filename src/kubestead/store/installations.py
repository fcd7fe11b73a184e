# SPDX-License-Identifier: GPL-3.0-or-later
"""The store's verbs for what machines boot, and for what their installers say."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from kubestead.model.boot_decision import INSTALL as INSTALLER
from kubestead.model.boot_decision import MENU, RESCUE_SYSTEM, BootFacts, Decision, decide
from kubestead.model.lifecycle import DISCOVERED, FAILED, INSTALL_STATES, INSTALLED, INSTALLING, RESCUE

from . import tokens
from .bulk import to_json
from .errors import ConflictError, InstallTokenError, StoreUnavailableError
from .records import INSTALL, Event, Handout, InstallReport, MachineRecord, TokenRecord
from .schema import machine_data, machines
from .transactions import Transactions, moment_now
from .transitions import Deadlines, after_rescue, deadline_of, settled, unseen

TOKEN_LIFE = timedelta(hours=24)
TOKENS_OF_AN_ATTEMPT = 32  # an answer may be fetched several times; not for ever
MOST_DISCOVERED = 1000  # anyone on the network may ask in the name of any MAC
FROM_THE_DISK_ON = ("disk", "write", "bootloader", "done")  # phases in which the disk is written
INSTALL_LOG = "install_log"
FIRMWARE = "firmware"


def facts_of(
    record: MachineRecord | None, *, registered: bool, registry_locked: bool, now: datetime
) -> BootFacts:
    """What decides about the next boot of a machine."""
    if record is None:
        return BootFacts(registered, locked=registry_locked)
    return BootFacts(
        registered=registered,
        state=record.state,
        locked=record.locked or registry_locked,
        desired_install_id=record.desired_install_id,
        completed_install_id=record.completed_install_id,
        install_attempts=record.install_attempts,
        handed_out=_seconds(record.handed_out_at, now),
        rescued=_seconds(record.rescued_at, now),
    )


def why_no_answers(record: MachineRecord | None, *, registry_locked: bool = False) -> str | None:
    """Why there are no answer files for a machine now: only one that was given the installer gets them."""
    if record is None or not record.is_to_be_installed:
        return "no installation of it is asked for"
    if record.locked or registry_locked:
        return "it is locked"
    if record.state != INSTALLING or record.handed_out_at is None:
        return f"no attempt to install it is under way: it is {record.state}"
    return None


class Installations(Transactions):
    """Attempts at installations, from the boot script to the machine's own token."""

    def hand_out(
        self,
        mac: str,
        *,
        registered: bool,
        registry_locked: bool = False,
        details: Mapping[str, str] | None = None,
        wanted: Callable[[], bool] = lambda: True,
        correlation_id: str | None = None,
    ) -> Handout:
        """Decide what a machine boots, and keep the books of it, in one transaction.

        details: what firmware says of a machine that nobody knows.
        wanted: asked at the end; False undoes everything: whoever asked has not waited for the answer.
        """
        now = moment_now()
        with self._written() as connection:
            before = self._bulk.load(connection, [mac]).get(mac)
            facts = facts_of(before, registered=registered, registry_locked=registry_locked, now=now)
            decision = decide(facts)
            change = _handed_out(before, mac, decision, now, self._deadlines)
            if change is not None and before is None and self._is_full(connection):
                change = None
            record = before
            if change is not None:
                record, event = change
                self._bulk.save_machines(connection, [record])
                self._bulk.append_events(connection, [replace(event, correlation_id=correlation_id)])
                if before is not None and record.install_attempts != before.install_attempts:
                    tokens.revoke_all(connection, mac, [INSTALL], now)
                if decision.used_up:
                    tokens.revoke_all(connection, mac, [INSTALL], now)
            if decision.action == MENU and record is not None and details:
                self._keep_firmware(connection, mac, details, now)
            if not wanted():
                raise StoreUnavailableError("whoever asked what to boot has not waited for the answer")
        if decision.action == INSTALLER and record is not None:
            return Handout(
                INSTALLER, decision.reason, record.desired_install_id, decision.attempt, record.overwrite
            )
        return Handout(decision.action, decision.reason)

    def keep_install_token(
        self, mac: str, install_id: str, attempt: int, hashed: str, *, registry_locked: bool = False
    ) -> TokenRecord:
        """Let the secret with this hash report for an attempt; ConflictError if that is not the last one."""
        now = moment_now()
        with self._written() as connection:
            record = self._bulk.load(connection, [mac]).get(mac)
            problem = why_no_answers(record, registry_locked=registry_locked)
            if record is not None and not problem:
                if (record.desired_install_id, record.install_attempts) != (install_id, attempt):
                    problem = "another attempt to install it has begun"
                elif tokens.count_of_attempt(connection, mac, install_id, attempt) >= TOKENS_OF_AN_ATTEMPT:
                    problem = "the answers of this attempt have been fetched too often: boot it once more"
            if problem:
                raise ConflictError(f"there are no answers for {mac}: {problem}", record)
            return tokens.keep(
                connection,
                f"installer of {mac}, attempt {attempt}",
                INSTALL,
                hashed,
                mac=mac,
                expires_at=now + TOKEN_LIFE,
                install_id=install_id,
                attempt=attempt,
                now=now,
            )

    def install_report(self, secret: str, report: InstallReport) -> MachineRecord:
        """Record what an installer says; InstallTokenError or ConflictError where it has no say."""
        now = moment_now()
        with self._written() as connection:
            before = self._of_attempt(connection, secret, now)[1]
            record, event = _install_reported(before, report, now, self._deadlines)
            self._bulk.save_machines(connection, [record])
            self._bulk.append_events(connection, [event])
        return record

    def install_log(self, secret: str, text: str) -> str:
        """Keep the end of an installer's log as a datum; gives the machine's MAC."""
        now = moment_now()
        with self._written() as connection:
            token, record = self._of_attempt(connection, secret, now)
            value = {"install_id": token.install_id, "attempt": token.attempt, "text": text}
            self._bulk.save_data(connection, {(record.mac, INSTALL_LOG): to_json(value)}, now)
        return record.mac

    def exchange(
        self, secret: str, mac: str, name: str, hashed: str | None = None
    ) -> tuple[MachineRecord, str | None]:
        """Give a machine its own token for its installer's, once; all its earlier tokens are closed.

        hashed: of a secret that the machine has made itself and keeps already; without it one is made here,
        and given this once.
        """
        now = moment_now()
        with self._written() as connection:
            token, before = self._of_attempt(connection, secret, now)
            if token.mac != mac:
                raise InstallTokenError(f"this token is for the installation of {token.mac}, not of {mac}")
            tokens.revoke_all(connection, mac, [INSTALL, "machine"], now)
            made = None if hashed is not None else tokens.new_secret("machine")
            kept = tokens.keep(
                connection,
                name,
                "machine",
                hashed if hashed is not None else tokens.digest(str(made)),
                mac=mac,
                expires_at=None,
                install_id=token.install_id,
                now=now,
            )
            record = before
            drafts = [
                Event(
                    0,
                    now,
                    "token",
                    mac,
                    message=f"token {kept.id} ({name}, machine) made for its installer's",
                )
            ]
            if before.is_to_be_installed:
                report = InstallReport("installed", "done", None, "its system has started")
                record, event = _install_reported(before, report, now, self._deadlines)
                drafts.insert(0, event)
            self._bulk.save_machines(connection, [record])
            self._bulk.append_events(connection, drafts)
        self._tokens_changed()
        return record, made

    def _of_attempt(
        self, connection: sa.Connection, secret: str, now: datetime
    ) -> tuple[TokenRecord, MachineRecord]:
        """The token of an installer and the machine that it installs, if that attempt is the last one."""
        token = tokens.find(connection, tokens.digest(secret))
        if token is None or token.scope != INSTALL or token.mac is None:
            raise InstallTokenError("this is no token of an installation that is under way")
        if token.revoked_at is not None:
            raise InstallTokenError(
                f"the token of attempt {token.attempt} is closed: another attempt has begun, "
                "or the machine has its own token by now"
            )
        if token.expires_at is not None and token.expires_at <= now:
            raise InstallTokenError(
                f"the token of attempt {token.attempt} has expired: boot the machine again"
            )
        record = self._bulk.load(connection, [token.mac]).get(token.mac)
        if record is None or record.desired_install_id != token.install_id:
            raise ConflictError("this installation is not wanted any more", record)
        if record.install_attempts != token.attempt:
            raise ConflictError(
                f"this is attempt {token.attempt}, and attempt {record.install_attempts} has begun", record
            )
        return token, record

    def _is_full(self, connection: sa.Connection) -> bool:
        found = connection.execute(
            sa.select(sa.func.count()).select_from(machines).where(machines.c.state == DISCOVERED)
        ).scalar_one()
        return found >= MOST_DISCOVERED

    def _keep_firmware(
        self, connection: sa.Connection, mac: str, details: Mapping[str, str], now: datetime
    ) -> None:
        found = connection.execute(
            sa.select(machine_data.c.value).where(machine_data.c.mac == mac, machine_data.c.key == FIRMWARE)
        ).scalar_one_or_none()
        value: dict[str, Any] = dict(details)
        if found is None or json.loads(found) != value:
            self._bulk.save_data(connection, {(mac, FIRMWARE): to_json(value)}, now)


def _seconds(moment: datetime | None, now: datetime) -> float | None:
    return None if moment is None else (now - moment).total_seconds()


def _handed_out(
    before: MachineRecord | None, mac: str, decision: Decision, now: datetime, deadlines: Deadlines
) -> tuple[MachineRecord, Event] | None:
    """The machine after it was told what to boot, with the event; None where that changes nothing."""
    record = before or unseen(mac, now)
    if decision.action == MENU and record.state is None:
        return _came_to(record, DISCOVERED, now, deadlines, message="it has asked what to boot")
    if decision.action == INSTALLER and decision.attempt != record.install_attempts:
        begun = replace(record, install_attempts=decision.attempt, handed_out_at=now)
        message = f"its boot script was handed out: {decision.reason}"
        return _came_to(begun, INSTALLING, now, deadlines, phase="boot", progress=0, message=message)
    if decision.used_up and record.state != FAILED:
        last = record.error or record.message or record.phase
        error = f"{decision.reason}; the last said: {last or 'nothing'}"
        return _came_to(record, FAILED, now, deadlines, phase=record.phase, error=error)
    if decision.action == RESCUE_SYSTEM and record.rescued_at is None:
        begun = replace(record, rescued_at=now)
        message = "the rescue system was handed out"
        return _came_to(begun, RESCUE, now, deadlines, phase="boot", message=message)
    if decision.rescue_ends:
        return after_rescue(record, now, deadlines, "its rescue has ended")
    return None


def _install_reported(
    before: MachineRecord, report: InstallReport, now: datetime, deadlines: Deadlines
) -> tuple[MachineRecord, Event]:
    """The machine after its installer has said something, with the event; or ConflictError."""
    if not before.is_to_be_installed and report.state != INSTALLED:
        raise ConflictError("this installation is complete: there is nothing more to report", before)
    if before.is_to_be_installed and _lifecycle_state(before) not in (*INSTALL_STATES, FAILED):
        raise ConflictError(f"the machine is {before.state}: there is nothing to report", before)
    record = replace(before, address=report.address or before.address)
    if report.phase in FROM_THE_DISK_ON and record.is_to_be_installed:
        record = replace(record, overwrite=True)
    if not before.is_to_be_installed:  # said twice, since the first answer was lost
        event = Event(0, now, "report", record.mac, record.state, record.state, report.phase)
        return record, replace(event, message=report.message, actor="installer")
    error = (report.message or "it says nothing more") if report.state == FAILED else None
    record, event = _came_to(
        replace(record, state=_lifecycle_state(record)),
        report.state,
        now,
        deadlines,
        phase=report.phase,
        progress=report.progress,
        message=None if report.state == FAILED else report.message,
        error=error,
    )
    event = replace(event, actor="installer", correlation_id=report.correlation_id)
    if before.state != RESCUE:
        return record, event
    # It goes on being asked to boot the rescue system; this is what it comes back to.
    rescued = replace(
        before,
        overwrite=record.overwrite,
        completed_install_id=record.completed_install_id,
        rescue_from=record.state,
        address=record.address,
    )
    return rescued, replace(event, kind="report", state=RESCUE, previous_state=RESCUE)


def _lifecycle_state(record: MachineRecord) -> str | None:
    """Where the machine is in its life, a rescue aside."""
    return record.rescue_from if record.state == RESCUE else record.state


def _came_to(
    record: MachineRecord,
    state: str,
    now: datetime,
    deadlines: Deadlines,
    *,
    phase: str | None = None,
    progress: int | None = None,
    message: str | None = None,
    error: str | None = None,
) -> tuple[MachineRecord, Event]:
    previous = record.state
    changed = previous != state
    after = replace(
        record,
        state=state,
        phase=phase,
        progress=progress,
        message=message,
        error=error,
        updated_at=now,
        since=now if changed else record.since,
        deadline_at=deadline_of(state, now, deadlines),
        version=record.version + changed,
    )
    event = Event(
        id=0,
        at=now,
        kind="transition" if changed else "report",
        mac=record.mac,
        state=state,
        previous_state=previous,
        phase=phase,
        progress=progress,
        message=message,
        error=error,
        actor="boot",
    )
    return (settled(after) if changed else after), event
