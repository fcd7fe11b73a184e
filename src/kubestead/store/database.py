# SPDX-License-Identifier: GPL-3.0-or-later
"""Opening the database: durable, one writer at a time."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from .errors import StoreError

BUSY_TIMEOUT_SECONDS = 5


def sqlite_url(path: Path) -> str:
    """The database URL of a SQLite file."""
    return sa.URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)


def open_engine(url: str) -> sa.Engine:
    """An engine whose transactions survive a power cut once they are committed."""
    engine = sa.create_engine(url)
    if engine.dialect.name != "sqlite":
        raise StoreError(
            f"the database URL {url} is of a kind that is not served: use sqlite:////path/to/machines.db"
        )
    sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin where we say, schema changes included
    for pragma in (
        f"busy_timeout = {BUSY_TIMEOUT_SECONDS * 1000}",
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: sa.Connection) -> None:
    # A writer takes its place in the queue at once: a reader that turns writer later could only fail.
    writing = connection.get_execution_options().get("kubestead_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
