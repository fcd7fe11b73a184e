# SPDX-License-Identifier: GPL-3.0-or-later
"""Many rows in one statement: they go to the database, and come from it, as one JSON text.

SQLite is left and entered again at each row otherwise, and each time the writer's thread has to win the
interpreter back from the event loop: with a busy loop that costs more than the disk does. PostgreSQL answers
one round trip instead of many.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from datetime import datetime, timezone
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from .records import Event, MachineRecord
from .schema import UtcDateTime, events, machine_data, machine_features, machines

_MACHINE = [
    machines.c[name]
    for name in (
        "mac",
        "state",
        "phase",
        "progress",
        "message",
        "error",
        "updated_at",
        "since",
        "deadline_at",
        "locked",
        "version",
        "address",
        "install_attempts",
        "desired_install_id",
        "completed_install_id",
        "overwrite",
        "handed_out_at",
        "rescue_from",
        "rescued_at",
    )
]
_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
_EVENT = [column for column in events.c if column.name != "id"]
_FEATURE = list(machine_features.c)
_DATUM = list(machine_data.c)


class Bulk:
    """The statements for one kind of database."""

    def __init__(self, dialect: str) -> None:
        """Write the statements; they are compiled at their first use, once."""
        self._sqlite = dialect == "sqlite"
        self._machines = self._upsert(machines, _MACHINE)
        self._events = self._insert(events, _EVENT)
        self._features = self._upsert(machine_features, _FEATURE)
        self._data = self._upsert(machine_data, _DATUM)
        self._all = self._select()
        self._some = self._all.where(machines.c.mac.in_(self._macs()))
        # A machine that is not known yet, for what refers to it.
        self._stubs = self._insert(machines, [machines.c.mac, machines.c.updated_at], keep=True)

    def load(
        self, connection: sa.Connection, macs: Collection[str] | None = None
    ) -> dict[str, MachineRecord]:
        """The machines `macs`, or all, by MAC in order."""
        if macs is None:
            text = connection.execute(self._all).scalar_one()
        else:
            text = connection.execute(self._some, {"macs": json.dumps(list(macs))}).scalar_one()
        rows: list[list[Any]] = json.loads(text) if text else []
        return {record.mac: record for record in sorted(map(_machine, rows), key=lambda each: each.mac)}

    def save_machines(self, connection: sa.Connection, records: Collection[MachineRecord]) -> None:
        """Write machines, without their features."""
        self._send(
            connection,
            self._machines,
            [
                (
                    each.mac,
                    each.state,
                    each.phase,
                    each.progress,
                    each.message,
                    each.error,
                    self._moment(each.updated_at),
                    self._moment(each.since),
                    self._moment(each.deadline_at),
                    each.locked,
                    each.version,
                    each.address,
                    each.install_attempts,
                    each.desired_install_id,
                    each.completed_install_id,
                    each.overwrite,
                    self._moment(each.handed_out_at),
                    each.rescue_from,
                    self._moment(each.rescued_at),
                )
                for each in records
            ],
        )

    def save_stubs(self, connection: sa.Connection, macs: Collection[str], now: datetime) -> None:
        """Make sure that there is a row for each of `macs`."""
        moment = self._moment(now)
        self._send(connection, self._stubs, [(mac, moment) for mac in macs])

    def append_events(self, connection: sa.Connection, drafts: Sequence[Event]) -> None:
        """Append events in this order; their ids are given by the database."""
        self._send(
            connection,
            self._events,
            [
                (
                    self._moment(each.at),
                    each.kind,
                    each.mac,
                    each.state,
                    each.previous_state,
                    each.phase,
                    each.progress,
                    each.message,
                    each.error,
                    to_json(dict(each.features)) if each.features else "{}",
                    each.actor,
                    each.correlation_id,
                )
                for each in drafts
            ],
        )

    def save_features(
        self, connection: sa.Connection, statuses: dict[tuple[str, str], str], now: datetime
    ) -> None:
        """Write the status of features, by MAC and name."""
        moment = self._moment(now)
        rows = [(mac, feature, status, moment) for (mac, feature), status in statuses.items()]
        self._send(connection, self._features, rows)

    def save_data(self, connection: sa.Connection, texts: dict[tuple[str, str], str], now: datetime) -> None:
        """Write JSON texts, by MAC and key; the machines are there."""
        moment = self._moment(now)
        self._send(connection, self._data, [(mac, key, text, moment) for (mac, key), text in texts.items()])

    def _send(self, connection: sa.Connection, statement: Any, rows: Sequence[Sequence[Any]]) -> None:
        if rows:
            connection.execute(statement, {"rows": _without_nul(to_json(rows))})

    def _moment(self, moment: datetime | None) -> str | None:
        if moment is None:
            return None
        text = moment.astimezone(timezone.utc).isoformat(" ", "microseconds")
        return text[:26] if self._sqlite else text  # as schema.UtcDateTime has it there

    def _rows(self, columns: Sequence[sa.Column[Any]]) -> sa.Select[Any]:
        values: list[sa.ColumnElement[Any]] = []
        if self._sqlite:
            source = sa.func.json_each(sa.bindparam("rows", type_=sa.Text)).table_valued(
                "key", "value", name="batch"
            )
            values += [
                sa.literal_column(f"json_extract(batch.value, '$[{place}]')") for place in range(len(columns))
            ]
        else:
            text = sa.cast(sa.bindparam("rows", type_=sa.Text), postgresql.JSON)
            source = (
                sa.func.json_array_elements(text)
                .table_valued(sa.column("value"), with_ordinality="key", name="batch")
                .render_derived(name="batch")
            )
            for place, column in enumerate(columns):
                kind: Any = (
                    sa.DateTime(timezone=True) if isinstance(column.type, UtcDateTime) else column.type
                )
                values.append(sa.cast(sa.literal_column(f"batch.value ->> {place}", sa.Text), kind))
        return sa.select(*values).select_from(source).where(sa.true()).order_by(source.c.key)

    def _insert(self, table: sa.Table, columns: Sequence[sa.Column[Any]], keep: bool = False) -> sa.Insert:
        insert = sqlite.insert(table) if self._sqlite else postgresql.insert(table)
        names = [column.name for column in columns]
        statement = insert.from_select(names, self._rows(columns), include_defaults=False)
        return statement.on_conflict_do_nothing() if keep else statement

    def _upsert(self, table: sa.Table, columns: Sequence[sa.Column[Any]]) -> sa.Insert:
        insert = sqlite.insert(table) if self._sqlite else postgresql.insert(table)
        names = [column.name for column in columns]
        statement = insert.from_select(names, self._rows(columns), include_defaults=False)
        key = list(table.primary_key)
        changes = {
            column.name: statement.excluded[column.name] for column in columns if not column.primary_key
        }
        return statement.on_conflict_do_update(index_elements=key, set_=changes)

    def _macs(self) -> sa.Select[Any]:
        if self._sqlite:
            listed = sa.func.json_each(sa.bindparam("macs", type_=sa.Text)).table_valued(
                "value", name="wanted"
            )
            return sa.select(listed.c.value)
        text = sa.cast(sa.bindparam("macs", type_=sa.Text), postgresql.JSON)
        return sa.select(sa.func.json_array_elements_text(text, type_=sa.Text).column_valued("wanted"))

    def _select(self) -> sa.Select[Any]:
        pairs = (machine_features.c.feature, machine_features.c.status)
        of_machine = machine_features.c.mac == machines.c.mac
        if self._sqlite:
            features = sa.select(sa.func.json_group_object(*pairs)).where(of_machine).scalar_subquery()
            row = sa.func.json_array(*_MACHINE, sa.func.json(features))
            return sa.select(sa.func.json_group_array(row)).select_from(machines)
        features = sa.select(sa.func.json_object_agg(*pairs)).where(of_machine).scalar_subquery()
        row = sa.func.json_build_array(*_MACHINE, features)
        return sa.select(sa.cast(sa.func.json_agg(row), sa.Text)).select_from(machines)


def to_json(value: Any) -> str:
    """Strict JSON. Half a surrogate pair in a text is refused by the database's driver."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _without_nul(text: str) -> str:
    # No database has a NUL in its texts. (Within a datum it is escaped twice, and stays.)
    return _NUL.sub(r"\1\\ufffd", text) if "\\u0000" in text else text


def _machine(row: list[Any]) -> MachineRecord:
    mac, state, phase, progress, message, error, updated_at, since, deadline_at, locked = row[:10]
    version, address, attempts, desired, completed, overwrite = row[10:16]
    handed_out_at, rescue_from, rescued_at, features = row[16:]
    return MachineRecord(
        mac,
        state,
        phase,
        progress,
        message,
        error,
        features or {},
        _read(updated_at),
        since and _read(since),
        deadline_at and _read(deadline_at),
        bool(locked),
        version,
        address,
        attempts,
        desired,
        completed,
        bool(overwrite),
        handed_out_at and _read(handed_out_at),
        rescue_from,
        rescued_at and _read(rescued_at),
    )


def _read(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=timezone.utc) if moment.tzinfo is None else moment.astimezone(timezone.utc)
