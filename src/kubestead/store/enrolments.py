# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines that have no token and ask for one: each waits for a person, who compares a code.

The secret that an enrolment is given opens nothing. Once a person has agreed it is the machine's own token:
so nothing has to be handed over, and no answer that gets lost costs the machine its token.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import Any

import sqlalchemy as sa

from kubestead.model.lifecycle import APPROVED as COUNTS_AS_APPROVED
from kubestead.model.lifecycle import DISCOVERED, FAILED, INSTALLED, INSTALLING

from . import tokens
from .errors import RefusedError
from .records import Event, MachineRecord, StateReport
from .schema import enrolments
from .transactions import Transactions, moment_now
from .transitions import reported

LIFETIME = timedelta(hours=24)
KEPT = timedelta(days=7)  # after its end, for whoever looks back
MOST_WAITING = 100
MOST_WAITING_OF_ONE = 10  # from one address
MOST_A_MINUTE = 30

# From these a machine that a person has adopted comes to `installed`; elsewhere it stays where it is.
_ADOPTED_FROM = (None, DISCOVERED, COUNTS_AS_APPROVED, INSTALLING, FAILED)

# Read aloud and typed by people: no vowels, so no words; nothing that looks like something else.
_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"

WAITING, APPROVED, REFUSED, EXPIRED = "waiting", "approved", "refused", "expired"


class UnknownEnrolmentError(RefusedError):
    """Nobody asks with this code."""


class DecidedError(RefusedError):
    """It was decided before, or has expired."""


class TooManyEnrolmentsError(RefusedError):
    """So many ask already that no more are taken for now."""


@dataclass(frozen=True, slots=True)
class NewEnrolment:
    """What a machine says of itself; none of it is known to be true."""

    mac: str
    hostname: str = ""
    addresses: Sequence[str] = ()
    hardware: Mapping[str, Any] = field(default_factory=dict)
    peer: str | None = None  # the address that it asked from, which is


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A machine that asks, or has asked, to be adopted."""

    id: str
    code: str
    mac: str
    hostname: str
    addresses: tuple[str, ...]
    hardware: Mapping[str, Any]
    peer: str | None
    created_at: datetime
    expires_at: datetime
    decision: str | None  # approved | refused
    decided_at: datetime | None
    decided_by: str | None

    @property
    def condition(self) -> str:
        """`waiting`, `approved`, `refused`, or `expired` when nobody has decided in time."""
        if self.decision is not None:
            return self.decision
        return EXPIRED if self.expires_at <= datetime.now(timezone.utc) else WAITING


_COLUMNS = sa.select(
    enrolments.c.id,
    enrolments.c.code,
    enrolments.c.mac,
    enrolments.c.hostname,
    enrolments.c.addresses,
    enrolments.c.hardware,
    enrolments.c.peer,
    enrolments.c.created_at,
    enrolments.c.expires_at,
    enrolments.c.decision,
    enrolments.c.decided_at,
    enrolments.c.decided_by,
)


class Enrolments(Transactions):
    """The verbs of adoption."""

    def enrol(
        self, new: NewEnrolment, *, registered: bool, correlation_id: str | None = None
    ) -> tuple[Enrolment, str]:
        """Let a machine wait for a person; its secret is given this once. One that neither the registry nor
        the store knows is `discovered`."""
        now = moment_now()
        with self._written() as connection:
            made, secret = _insert(connection, new, now)
            event = Event(0, now, "enrolment", made.mac, correlation_id=correlation_id)
            message = f"asks to be adopted: code {made.code}, from {made.peer or 'nowhere'}"
            before = self._bulk.load(connection, [made.mac]).get(made.mac)
            if registered or (before is not None and before.state not in (None, DISCOVERED)):
                self._bulk.append_events(connection, [replace(event, message=message)])
            else:
                report = StateReport(made.mac, DISCOVERED, message=message, correlation_id=correlation_id)
                self._report(connection, before, report, now)
        return made, secret

    def enrolments(self) -> list[Enrolment]:
        """All that are kept, the newest last."""
        with self._reading() as connection:
            return _all(connection, sa.true())

    def own_enrolment(self, number: str, secret: str) -> Enrolment | None:
        """A machine's own enrolment, for whoever knows its secret."""
        query = sa.select(enrolments.c.digest).where(enrolments.c.id == number)
        with self._reading() as connection:
            kept = connection.execute(query).scalar_one_or_none()
            if kept is None or not hmac.compare_digest(kept, tokens.digest(secret)):
                return None
            return _all(connection, enrolments.c.id == number)[0]

    def decide(self, code: str, *, approve: bool, actor: str, correlation_id: str | None = None) -> Enrolment:
        """Take a person's decision. Approved, the machine's secret is its only token from now on, and the
        machine is `installed`, unless it is further already. Asked for again, nothing changes."""
        now = moment_now()
        decision = APPROVED if approve else REFUSED
        with self._written() as connection:
            enrolment = _undecided(connection, code, decision, now)
            if enrolment.decision is not None:
                return enrolment
            same = enrolments.c.id == enrolment.id
            event = Event(0, now, "enrolment", enrolment.mac, actor=actor, correlation_id=correlation_id)
            told = replace(event, message=f"{enrolment.code} {decision}")
            self._bulk.append_events(connection, [told])
            if approve:
                # A card has one MAC: whoever else asks with it is another, or the same with an older code.
                others = sa.and_(_waiting(now), enrolments.c.mac == enrolment.mac, ~same)
                _save(connection, others, REFUSED, actor, now)
                _hand_over(connection, enrolment, now)
                self._install(connection, enrolment, event)
            _save(connection, same, decision, actor, now)
            decided = _all(connection, same)[0]
        self._tokens_changed()
        return decided

    def _install(self, connection: sa.Connection, enrolment: Enrolment, event: Event) -> None:
        before = self._bulk.load(connection, [enrolment.mac]).get(enrolment.mac)
        if before is not None and before.state not in _ADOPTED_FROM:
            return
        report = StateReport(
            enrolment.mac,
            INSTALLED,
            message=f"adopted by {event.actor}",
            actor=event.actor,
            correlation_id=event.correlation_id,
            initial=COUNTS_AS_APPROVED,
        )
        self._report(connection, before, report, event.at)

    def _report(
        self, connection: sa.Connection, before: MachineRecord | None, report: StateReport, now: datetime
    ) -> None:
        record, event = reported(before, report, now, self._deadlines)
        self._bulk.save_machines(connection, [record])
        self._bulk.append_events(connection, [event])


def _insert(connection: sa.Connection, new: NewEnrolment, now: datetime) -> tuple[Enrolment, str]:
    connection.execute(enrolments.delete().where(enrolments.c.expires_at < now - KEPT))
    waiting = _all(connection, _waiting(now))
    _check_room(waiting, new.peer, now)
    taken = {each.code for each in waiting}
    code = next(code for code in iter(_code, "") if code not in taken)
    secret = tokens.new_secret("machine")
    values: dict[str, Any] = {
        "id": secrets.token_hex(16),
        "code": code,
        "mac": new.mac,
        "hostname": new.hostname,
        "addresses": json.dumps(list(new.addresses)),
        "hardware": json.dumps(dict(new.hardware), allow_nan=False),
        "peer": new.peer,
        "created_at": now,
        "expires_at": now + LIFETIME,
    }
    connection.execute(enrolments.insert().values(**values, digest=tokens.digest(secret)))
    return _all(connection, enrolments.c.id == values["id"])[0], secret


def _undecided(connection: sa.Connection, code: str, decision: str, now: datetime) -> Enrolment:
    """The enrolment with this code; one that was decided so already is as good."""
    found = _all(connection, enrolments.c.code == code.strip().upper())
    if not found:
        raise UnknownEnrolmentError(
            f"nobody asks to be adopted with the code {code}: `kubestead machines adopt` shows who does"
        )
    enrolment = found[-1]
    if enrolment.decision == decision:
        return enrolment
    if enrolment.decision is not None or enrolment.expires_at <= now:
        ended = f"was {enrolment.decision}" if enrolment.decision else "has expired"
        raise DecidedError(
            f"the enrolment {enrolment.code} of {enrolment.mac} {ended}: let the machine ask again, by "
            "running provision-machine.sh on it"
        )
    return enrolment


def _hand_over(connection: sa.Connection, enrolment: Enrolment, now: datetime) -> None:
    """Make the enrolment's secret the machine's only token."""
    tokens.revoke_all(connection, enrolment.mac, ("machine", "install"), now)
    query = sa.select(enrolments.c.digest).where(enrolments.c.id == enrolment.id)
    hashed = connection.execute(query).scalar_one()
    name = f"adopted {enrolment.code}"
    tokens.keep(connection, name, "machine", hashed, mac=enrolment.mac, expires_at=None, now=now)


def _save(connection: sa.Connection, which: Any, decision: str, actor: str, now: datetime) -> None:
    connection.execute(
        enrolments.update().where(which).values(decision=decision, decided_at=now, decided_by=actor)
    )


def _check_room(waiting: Sequence[Enrolment], peer: str | None, now: datetime) -> None:
    """Refuse where somebody fills the list: a person has to read it."""
    advice = "`kubestead machines adopt` shows them; refuse those that are nobody's"
    if len(waiting) >= MOST_WAITING:
        raise TooManyEnrolmentsError(f"{len(waiting)} machines ask to be adopted already: {advice}")
    if sum(each.peer == peer for each in waiting) >= MOST_WAITING_OF_ONE:
        raise TooManyEnrolmentsError(
            f"{MOST_WAITING_OF_ONE} from the address {peer} ask to be adopted already: {advice}"
        )
    if sum(each.created_at > now - timedelta(minutes=1) for each in waiting) >= MOST_A_MINUTE:
        raise TooManyEnrolmentsError(
            f"{MOST_A_MINUTE} machines have asked to be adopted within a minute: try again soon"
        )


def _waiting(now: datetime) -> Any:
    return sa.and_(enrolments.c.decision.is_(None), enrolments.c.expires_at > now)


def _code() -> str:
    letters = [secrets.choice(_LETTERS) for _ in range(8)]
    return f"{''.join(letters[:4])}-{''.join(letters[4:])}"


def _all(connection: sa.Connection, which: Any) -> list[Enrolment]:
    query = _COLUMNS.where(which).order_by(enrolments.c.created_at, enrolments.c.id)
    return [_enrolment(row) for row in connection.execute(query)]


def _enrolment(row: Any) -> Enrolment:
    values = list(row)
    values[4], values[5] = tuple(json.loads(values[4])), json.loads(values[5])
    return Enrolment(*values)
