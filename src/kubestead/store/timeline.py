# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading the events."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa

from .records import Event
from .schema import events

_COLUMNS = sa.select(
    events.c.id,
    events.c.at,
    events.c.kind,
    events.c.mac,
    events.c.state,
    events.c.previous_state,
    events.c.phase,
    events.c.progress,
    events.c.message,
    events.c.error,
    events.c.features,
    events.c.actor,
    events.c.correlation_id,
)


def after(connection: sa.Connection, last: int, mac: str | None, limit: int) -> list[Event]:
    """The events that follow the one with the id `last`, in order."""
    query = _of(mac).where(events.c.id > last).order_by(events.c.id).limit(limit)
    return [_event(row) for row in connection.execute(query)]


def newest(connection: sa.Connection, mac: str | None, limit: int) -> list[Event]:
    """The newest events, newest first."""
    return [_event(row) for row in connection.execute(_of(mac).order_by(events.c.id.desc()).limit(limit))]


def last_id(connection: sa.Connection) -> int:
    """The id of the newest event, 0 where there is none."""
    found: int | None = connection.execute(sa.select(sa.func.max(events.c.id))).scalar_one()
    return found or 0


def _of(mac: str | None) -> sa.Select[Any]:
    return _COLUMNS if mac is None else _COLUMNS.where(events.c.mac == mac)


def _event(row: sa.Row[Any]) -> Event:
    values = list(row)
    values[10] = {} if values[10] == "{}" else json.loads(values[10])
    return Event(*values)
