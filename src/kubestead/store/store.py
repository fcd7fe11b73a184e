# SPDX-License-Identifier: GPL-3.0-or-later
"""The store's verbs. Each one is a transaction: what has returned is on disk, what has not left no trace."""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from .database import open_engine, sqlite_url
from .errors import StoreError, StoreUnavailableError
from .migrate import migrate
from .records import Datum, MachineState, StateReport
from .schema import events, machine_data, machine_features, machines


class Store:
    """Machines' states, events, data and features in one database. May be used from many threads."""

    def __init__(self, url: str) -> None:
        """Open the database at `url` and bring it to this program's schema."""
        self._engine = open_engine(url)
        self._writing = threading.Lock()  # our own writers queue here, fairly, not in SQLite's busy loop
        try:
            migrate(self._engine)
        except sa.exc.DBAPIError as error:
            raise StoreError(
                f"the database {self._engine.url.database} cannot be opened: {error.orig}. "
                "Check that its folder exists, is writable for this user and has space."
            ) from error

    @classmethod
    def at(cls, path: Path) -> Store:
        """Open the SQLite file `path`, making it where there is none."""
        return cls(sqlite_url(path))

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    def check(self) -> None:
        """Raise StoreUnavailableError unless the database answers."""
        with self._reading() as connection:
            connection.execute(sa.select(machines.c.mac).limit(1))

    def record_state(self, report: StateReport) -> MachineState:
        """Make `report` the machine's state and append it to its events."""
        now = _now()
        row = {
            "state": report.state,
            "phase": report.phase,
            "progress": report.progress,
            "message": report.message,
            "error": report.error,
            "updated_at": now,
        }
        with self._written() as connection:
            connection.execute(
                insert(machines)
                .values(mac=report.mac, **row)
                .on_conflict_do_update(index_elements=[machines.c.mac], set_=row)
            )
            connection.execute(
                events.insert().values(
                    mac=report.mac,
                    at=now,
                    state=report.state,
                    phase=report.phase,
                    progress=report.progress,
                    message=report.message,
                    error=report.error,
                    features=_to_json(dict(report.features)),
                    correlation_id=report.correlation_id,
                )
            )
            for feature, status in report.features.items():
                changes = {"status": status, "updated_at": now}
                connection.execute(
                    insert(machine_features)
                    .values(mac=report.mac, feature=feature, **changes)
                    .on_conflict_do_update(
                        index_elements=[machine_features.c.mac, machine_features.c.feature], set_=changes
                    )
                )
            features = _features(connection, report.mac)[report.mac]
        return MachineState(
            mac=report.mac,
            state=report.state,
            phase=report.phase,
            progress=report.progress,
            message=report.message,
            error=report.error,
            features=features,
            updated_at=now,
        )

    def states(self) -> dict[str, MachineState]:
        """The last report of every machine that has sent one, by MAC."""
        with self._reading() as connection:
            features = _features(connection)
            rows = connection.execute(
                sa.select(machines).where(machines.c.state.is_not(None)).order_by(machines.c.mac)
            ).all()
        return {
            row.mac: MachineState(
                mac=row.mac,
                state=row.state,
                phase=row.phase,
                progress=row.progress,
                message=row.message,
                error=row.error,
                features=features.get(row.mac, {}),
                updated_at=row.updated_at,
            )
            for row in rows
        }

    def put_datum(self, mac: str, key: str, value: Any) -> Datum:
        """Store a JSON value for a machine under `key`, in the place of one that is there."""
        now = _now()
        text = _to_json(value)
        changes = {"value": text, "updated_at": now}
        with self._written() as connection:
            connection.execute(
                insert(machines)
                .values(mac=mac, updated_at=now)
                .on_conflict_do_nothing(index_elements=[machines.c.mac])
            )
            connection.execute(
                insert(machine_data)
                .values(mac=mac, key=key, **changes)
                .on_conflict_do_update(index_elements=[machine_data.c.mac, machine_data.c.key], set_=changes)
            )
        return Datum(mac=mac, key=key, value=value, updated_at=now)

    def datum(self, mac: str, key: str) -> Datum | None:
        """The value that is stored for a machine under `key`, or None."""
        with self._reading() as connection:
            row = connection.execute(
                sa.select(machine_data).where(machine_data.c.mac == mac, machine_data.c.key == key)
            ).one_or_none()
        if row is None:
            return None
        return Datum(mac=mac, key=key, value=json.loads(row.value), updated_at=row.updated_at)

    @contextmanager
    def _written(self) -> Iterator[sa.Connection]:
        with (
            self._writing,
            _plain_errors(),
            self._engine.connect().execution_options(kubestead_write=True) as connection,
            connection.begin(),
        ):
            yield connection

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with _plain_errors(), self._engine.connect() as connection, connection.begin():
            yield connection


@contextmanager
def _plain_errors() -> Iterator[None]:
    try:
        yield
    except (sa.exc.OperationalError, sa.exc.DatabaseError, sa.exc.TimeoutError) as error:
        reason = getattr(error, "orig", None) or error
        raise StoreUnavailableError(f"the state store did not answer: {reason}") from error


def _features(connection: sa.Connection, mac: str | None = None) -> Mapping[str, dict[str, str]]:
    query = sa.select(machine_features.c.mac, machine_features.c.feature, machine_features.c.status)
    if mac is not None:
        query = query.where(machine_features.c.mac == mac)
    found: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for row in connection.execute(query.order_by(machine_features.c.mac, machine_features.c.feature)):
        found[row.mac][row.feature] = row.status
    return found


def _to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def _now() -> datetime:
    return datetime.now(timezone.utc)
