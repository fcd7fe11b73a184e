# SPDX-License-Identifier: GPL-3.0-or-later
"""The store's verbs. Each one is a transaction: what has returned is on disk, what has not left no trace."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import sqlalchemy as sa

from kubestead.model.lifecycle import DEADLINES
from kubestead.model.mac import normalise_mac

from . import admin, claims, database, timeline, tokens
from .bulk import to_json
from .enrolments import Enrolments
from .errors import RefusedError, StoreError, StoreUnavailableError
from .installations import Installations
from .migrate import migrate
from .records import Claim, Datum, Event, MachineRecord, NewDatum, StateReport, TokenRecord
from .schema import events, machine_data, machines
from .transactions import moment_now
from .transitions import Deadlines, acted, expired, reported
from .use import UseLock

CHANGES_AT_ONCE = 2000
TOKEN_MEMORY_SECONDS = 1.0
TOKENS_REMEMBERED = 20_000
_NOT_JSON = (TypeError, ValueError, RecursionError)


class Store(Installations, Enrolments):
    """Machines, events, data, tokens and claims in one database. May be used from many threads, and by
    several processes at once."""

    def __init__(self, url: str, deadlines: Deadlines = DEADLINES) -> None:
        """Open the database at `url` and bring it to this program's schema."""
        super().__init__(url, deadlines)
        self._token_memory: dict[str, tuple[float, TokenRecord]] = {}
        self._token_uses: dict[int, datetime] = {}
        self._use: UseLock | None = None
        advice = "Check that the server runs, and that this user and password may use the database."
        try:
            if self.kind == "sqlite":
                advice = "Check that its folder exists, is writable for this user and has space."
                self._use = UseLock(Path(str(self._engine.url.database)))
            migrate(self._engine)
        except (sa.exc.DBAPIError, OSError) as error:
            self.close()
            reason = database.reason(error)
            name = database.title(self._engine.url)
            raise StoreError(f"the database {name} cannot be opened: {reason}. {advice}") from error
        except StoreError:
            self.close()
            raise

    @classmethod
    def at(cls, path: Path) -> Store:
        """Open the SQLite file `path`, making it where there is none."""
        return cls(database.sqlite_url(path))

    @property
    def kind(self) -> str:
        """`sqlite` or `postgresql`."""
        return self._engine.dialect.name

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()
        if self._use is not None:
            self._use.release()

    def check(self) -> None:
        """Raise StoreUnavailableError unless the database answers."""
        with self._reading() as connection:
            connection.execute(sa.select(machines.c.mac).limit(1))

    def backup(self, path: Path) -> None:
        """Write a copy of the store into the file `path`, while others go on writing."""
        admin.backup_of(self._engine.url, path)

    # Machines

    def record_state(self, report: StateReport) -> MachineRecord:
        """Make `report` the machine's state and append it to its events, if the lifecycle allows it."""
        return cast(MachineRecord, self._one(report))

    def put_datum(self, mac: str, key: str, value: Any) -> Datum:
        """Store a JSON value for a machine under `key`, in the place of one that is there."""
        return cast(Datum, self._one(NewDatum(mac, key, value)))

    def write(self, operations: Sequence[StateReport | NewDatum]) -> list[MachineRecord | Datum | Exception]:
        """Write many in one transaction, in order. What may not be is answered by its error, in its place,
        and leaves the others alone; when this raises, nothing at all was written."""
        try:
            with self._written() as connection:
                return self._apply(connection, operations)
        except (StoreUnavailableError, ValueError) as error:
            if len(operations) == 1 or not _is_about_values(error):
                raise
        return [self._answer(operation) for operation in operations]

    def act(
        self,
        mac: str,
        action: str,
        *,
        actor: str,
        correlation_id: str | None = None,
        expected_version: int | None = None,
        initial: str = "discovered",
        registry_locked: bool = False,
    ) -> MachineRecord:
        """Do what an operator asks for (lifecycle.ACTIONS); where it is so already, nothing is written."""
        now = moment_now()
        with self._written() as connection:
            before = self._bulk.load(connection, [mac]).get(mac)
            change = acted(
                before,
                mac,
                action,
                now,
                self._deadlines,
                actor=actor,
                correlation_id=correlation_id,
                expected_version=expected_version,
                initial=initial,
                registry_locked=registry_locked,
            )
            if change is None:
                return before or MachineRecord(mac, None, None, None, None, None, {}, now)
            record, event = change
            self._bulk.save_machines(connection, [record])
            self._bulk.append_events(connection, [event])
            if before is not None and record.desired_install_id != before.desired_install_id:
                tokens.forget_installers(connection, mac)
        return record

    def expire(self, now: datetime | None = None) -> list[MachineRecord]:
        """Fail the machines whose deadline has passed; each once, whoever else looks at the same time."""
        now = now or moment_now()
        late = sa.select(machines.c.mac).where(machines.c.deadline_at <= now)
        with self._reading() as connection:
            found = connection.execute(late.limit(1)).first()
        if found is None and not self._token_uses:
            return []
        with self._written() as connection:
            macs = connection.execute(late).scalars().all()
            before = self._bulk.load(connection, macs)
            changes = [expired(record, now, self._deadlines) for record in before.values()]
            self._bulk.save_machines(connection, [record for record, _event in changes])
            self._bulk.append_events(connection, [event for _record, event in changes])
            self._save_token_uses(connection)
        return [record for record, _event in changes]

    def machines(self, macs: Collection[str] | None = None) -> dict[str, MachineRecord]:
        """All that the store knows, or those of `macs`, by MAC in order."""
        with self._reading() as connection:
            return self._bulk.load(connection, macs)

    def machine(self, mac: str) -> MachineRecord | None:
        """One machine; None where it has never been seen."""
        with self._reading() as connection:
            return self._bulk.load(connection, [mac]).get(mac)

    def states(self) -> dict[str, MachineRecord]:
        """The machines that have reported a state."""
        return {mac: record for mac, record in self.machines().items() if record.state is not None}

    def datum(self, mac: str, key: str) -> Datum | None:
        """The value that is stored for a machine under `key`, or None."""
        with self._reading() as connection:
            row = connection.execute(
                sa.select(machine_data).where(machine_data.c.mac == mac, machine_data.c.key == key)
            ).one_or_none()
        if row is None:
            return None
        return Datum(mac=mac, key=key, value=json.loads(row.value), updated_at=row.updated_at)

    def data(self, mac: str) -> list[Datum]:
        """What is stored for a machine, by key, without the values."""
        query = (
            sa.select(machine_data.c.key, machine_data.c.updated_at)
            .where(machine_data.c.mac == mac)
            .order_by(machine_data.c.key)
        )
        with self._reading() as connection:
            return [Datum(mac, row.key, None, row.updated_at) for row in connection.execute(query)]

    # Events

    def note(
        self,
        kind: str,
        message: str,
        *,
        mac: str | None = None,
        actor: str | None = None,
        correlation_id: str | None = None,
    ) -> Event:
        """Append an event that changes no machine."""
        values: dict[str, Any] = {"at": moment_now(), "kind": kind, "mac": mac, "message": message}
        values |= {"actor": actor, "correlation_id": correlation_id}
        with self._written() as connection:
            made = connection.execute(events.insert().values(**values).returning(events.c.id)).scalar_one()
        return Event(id=made, **values)

    def events(self, after: int = 0, mac: str | None = None, limit: int = 500) -> list[Event]:
        """The events that follow the one with the id `after`, in order."""
        with self._reading() as connection:
            return timeline.after(connection, after, mac, limit)

    def recent_events(self, mac: str | None = None, limit: int = 50) -> list[Event]:
        """The newest events, newest first."""
        with self._reading() as connection:
            return timeline.newest(connection, mac, limit)

    def last_event_id(self) -> int:
        """The id of the newest event, 0 where there is none."""
        with self._reading() as connection:
            return timeline.last_id(connection)

    def changes(self, after: int) -> tuple[list[Event], int]:
        """The next events after `after`, and the id to go on from. None is ever passed over: one that becomes
        visible later has a greater id."""
        found = self.events(after, limit=CHANGES_AT_ONCE)
        return found, found[-1].id if found else after

    # Tokens

    def create_token(
        self,
        name: str,
        scope: str,
        mac: str | None = None,
        expires_at: datetime | None = None,
        actor: str | None = None,
    ) -> tuple[TokenRecord, str]:
        """Make a token; its secret is given this once."""
        now = moment_now()
        with self._written() as connection:
            token, secret = tokens.create(connection, name, scope, mac=mac, expires_at=expires_at, now=now)
            self._bulk.append_events(
                connection,
                [
                    Event(
                        0, now, "token", mac, message=f"token {token.id} ({name}, {scope}) made", actor=actor
                    )
                ],
            )
        return token, secret

    def tokens(self) -> list[TokenRecord]:
        """All tokens, also those that open nothing any more."""
        with self._reading() as connection:
            return tokens.listed(connection)

    def revoke_token(self, number: int, actor: str | None = None) -> TokenRecord:
        """Close a token for good: here at once, in other instances within TOKEN_MEMORY_SECONDS."""
        now = moment_now()
        with self._written() as connection:
            token, was_open = tokens.revoke(connection, number, now)
            if was_open:
                message = f"token {token.id} ({token.name}, {token.scope}) revoked"
                self._bulk.append_events(
                    connection, [Event(0, now, "token", token.mac, message=message, actor=actor)]
                )
        self._tokens_changed()
        return token

    def _tokens_changed(self) -> None:
        self._token_memory.clear()

    def find_token(self, secret: str) -> TokenRecord | None:
        """The token with this secret, also one that opens nothing any more: look at its `condition`."""
        hashed = tokens.digest(secret)
        token = self.remembered_token(hashed)
        if token is None:
            asked = time.monotonic()
            with self._reading() as connection:
                token = tokens.find(connection, hashed)
            if token is None:
                return None
            if len(self._token_memory) >= TOKENS_REMEMBERED:
                self._token_memory.clear()
            self._token_memory[hashed] = (asked, token)
        if token.condition == "valid":
            self._token_uses[token.id] = (
                moment_now()
            )  # goes to the database with the next look at the deadlines
        return token

    def remembered_token(self, hashed: str) -> TokenRecord | None:
        """A token that was found a moment ago, without asking the database."""
        asked, token = self._token_memory.get(hashed, (0.0, None))
        return token if token is not None and time.monotonic() - asked < TOKEN_MEMORY_SECONDS else None

    # Claims

    def take_claim(self, name: str, holder: str, *, actor: str | None = None) -> Claim:
        """Take a claim, or have it again; ClaimTakenError where it is another's."""
        now = moment_now()
        with self._written() as connection:
            claim = claims.take(connection, name, holder, now)
            if claim.new:
                self._bulk.append_events(
                    connection,
                    [Event(0, now, "claim", _as_mac(holder), message=_said(claim, "taken"), actor=actor)],
                )
        return claim

    def complete_claim(
        self, name: str, holder: str, epoch: int, data: Any, *, actor: str | None = None
    ) -> Claim:
        """Say that what was claimed is done; `data` is what others need to know of it."""
        now = moment_now()
        with self._written() as connection:
            claim, changed = claims.complete(connection, name, holder, epoch=epoch, data=data, now=now)
            if changed:
                self._bulk.append_events(
                    connection,
                    [
                        Event(
                            0, now, "claim", _as_mac(holder), message=_said(claim, "initialized"), actor=actor
                        )
                    ],
                )
        return claim

    def force_claim(self, name: str, holder: str, actor: str | None = None) -> Claim:
        """Give a claim to `holder`, whoever has it, in a new epoch."""
        now = moment_now()
        with self._written() as connection:
            claim = claims.force(connection, name, holder, now)
            self._bulk.append_events(
                connection,
                [
                    Event(
                        0, now, "claim", _as_mac(holder), message=_said(claim, "given by force"), actor=actor
                    )
                ],
            )
        return claim

    def release_claim(self, name: str, epoch: int, *, actor: str | None = None) -> Claim | None:
        """Let go of a claim whose work is no more; return what it was, None where nobody had it."""
        now = moment_now()
        with self._written() as connection:
            claim = claims.release(connection, name, epoch)
            if claim is not None:
                said = _said(claim, "released")
                self._bulk.append_events(
                    connection, [Event(0, now, "claim", _as_mac(claim.holder), message=said, actor=actor)]
                )
        return claim

    def claim(self, name: str) -> Claim | None:
        """The claim, if anybody has taken it."""
        with self._reading() as connection:
            return claims.find(connection, name)

    def claims(self) -> list[Claim]:
        """All claims, by name."""
        with self._reading() as connection:
            return claims.listed(connection)

    # Transactions

    def _one(self, operation: StateReport | NewDatum) -> MachineRecord | Datum:
        result = self.write([operation])[0]
        if isinstance(result, Exception):
            raise result
        return result

    def _answer(self, operation: StateReport | NewDatum) -> MachineRecord | Datum | Exception:
        try:
            return self._one(operation)
        except (StoreUnavailableError, RefusedError, *_NOT_JSON) as error:
            return error

    def _apply(
        self, connection: sa.Connection, operations: Sequence[StateReport | NewDatum]
    ) -> list[MachineRecord | Datum | Exception]:
        now = moment_now()
        known = self._bulk.load(connection, {operation.mac for operation in operations})
        changed: dict[str, MachineRecord] = {}
        drafts: list[Event] = []
        features: dict[tuple[str, str], str] = {}
        texts: dict[tuple[str, str], str] = {}
        results: list[MachineRecord | Datum | Exception] = []
        for operation in operations:
            try:
                if isinstance(operation, NewDatum):
                    texts[operation.mac, operation.key] = to_json(operation.value)
                    results.append(Datum(operation.mac, operation.key, operation.value, now))
                    continue
                record, event = reported(known.get(operation.mac), operation, now, self._deadlines)
            except (RefusedError, *_NOT_JSON) as error:
                results.append(error)
                continue
            known[record.mac] = changed[record.mac] = record
            drafts.append(event)
            for feature, status in operation.features.items():
                features[record.mac, feature] = status
            results.append(record)
        self._bulk.save_machines(connection, list(changed.values()))
        self._bulk.save_stubs(connection, {mac for mac, _key in texts if mac not in known}, now)
        self._bulk.append_events(connection, drafts)
        self._bulk.save_features(connection, features, now)
        self._bulk.save_data(connection, texts, now)
        return results

    def _save_token_uses(self, connection: sa.Connection) -> None:
        uses, self._token_uses = self._token_uses, {}
        if uses:
            tokens.mark_used(connection, uses)


def _is_about_values(error: Exception) -> bool:
    return isinstance(error, ValueError) or isinstance(
        error.__cause__, (sa.exc.IntegrityError, sa.exc.DataError)
    )


def _said(claim: Claim, what: str) -> str:
    return f"claim {claim.name} {what}: {claim.holder}, epoch {claim.epoch}"


def _as_mac(holder: str) -> str | None:
    try:
        return normalise_mac(holder)
    except ValueError:
        return None
