# SPDX-License-Identifier: GPL-3.0-or-later
"""Opening the database: durable, one writer at a time.

Every writing transaction first waits for its turn, in SQLite by BEGIN IMMEDIATE, in PostgreSQL by an advisory
lock that all instances share. So what a transaction has read is still true when it writes, and ids of events
become visible in their order (PostgreSQL alone hands them out before the commit, in any order).
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa

from .errors import StoreError

BUSY_TIMEOUT_SECONDS = 5.0
MIGRATION_PATIENCE_SECONDS = 120.0
STUCK_WRITER_SECONDS = 10.0  # an instance that stops in the middle of writing is cut off by the server

# Advisory locks of PostgreSQL: whose turn it is to write; and the use, shared by all that have it open.
WRITING_LOCK = 0x6B62_6564_0001
USE_LOCK = 0x6B62_6564_0002

_CONNECTION = {
    "application_name": "kubestead",
    "client_encoding": "utf8",
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
}


def sqlite_url(path: Path) -> str:
    """The database URL of a SQLite file."""
    return sa.URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)


def parse_url(url: str) -> sa.URL:
    """The URL with the driver that we use; refuse what is not served. No message holds the password."""
    served = "use sqlite:////path/to/machines.db or postgresql://user:password@host/database"
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError:
        raise StoreError(f"the database URL cannot be read: {served}") from None
    kind = parsed.drivername.partition("+")[0]
    if kind == "sqlite" and parsed.database not in (None, "", ":memory:"):
        return parsed.set(drivername="sqlite")
    if kind in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    raise StoreError(
        f"the database URL {parsed.render_as_string()} is of a kind that is not served: {served}"
    )


def title(url: sa.URL) -> str:
    """How messages name the database: the file, or the URL without its password."""
    if url.drivername == "sqlite":
        return str(url.database)
    shown = {name: value for name, value in url.query.items() if name in ("host", "port")}
    return url.set(drivername="postgresql", query=shown).render_as_string(hide_password=True)


def reason(error: Exception) -> str:
    """What the database itself has said, on one line."""
    return " ".join(str(getattr(error, "orig", None) or error).split())


def open_engine(url: str | sa.URL, *, mark_use: bool = True) -> sa.Engine:
    """An engine whose transactions survive a power cut once they are committed.

    With `mark_use` its connections to PostgreSQL hold the shared use lock.
    """
    parsed = parse_url(url) if isinstance(url, str) else url
    if parsed.drivername == "sqlite":
        engine = sa.create_engine(parsed, pool_size=8, max_overflow=40)
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
        return engine
    engine = sa.create_engine(
        parsed.update_query_dict({**_CONNECTION, **parsed.query}),
        pool_size=8,
        max_overflow=8,
        pool_timeout=10,
        pool_pre_ping=True,  # after the server was gone, no stale connection fails a request
    )

    def prepare(connection: psycopg.Connection[Any], _record: Any) -> None:
        _prepare_postgresql(connection, mark_use)

    sa.event.listen(engine, "connect", prepare)
    sa.event.listen(engine, "begin", _begin_postgresql)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin where we say, schema changes included
    for pragma in (
        f"busy_timeout = {int(BUSY_TIMEOUT_SECONDS * 1000)}",
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: sa.Connection) -> None:
    # A writer takes its place in the queue at once: a reader that turns writer later could only fail.
    options = connection.get_execution_options()
    patience = options.get("kubestead_patience")
    if patience:
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {int(patience * 1000)}")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("kubestead_write") else "BEGIN")
    if patience:
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT_SECONDS * 1000)}")


def _prepare_postgresql(connection: psycopg.Connection[Any], mark_use: bool) -> None:
    settings = {
        "TimeZone": "UTC",
        "lock_timeout": f"{int(BUSY_TIMEOUT_SECONDS * 1000)}ms",
        "idle_in_transaction_session_timeout": f"{int(STUCK_WRITER_SECONDS * 1000)}ms",
    }
    for name, value in settings.items():
        connection.execute("SELECT set_config(%s, %s, false)", (name, value))
    # Durable, also where the server's administrator has chosen speed. (What is stronger than `on` stays.)
    connection.execute(
        "SELECT set_config('synchronous_commit', 'on', false)"
        " WHERE current_setting('synchronous_commit') IN ('off', 'local')"
    )
    if mark_use:
        connection.execute("SELECT pg_advisory_lock_shared(%s)", (USE_LOCK,))
    connection.commit()


def _begin_postgresql(connection: sa.Connection) -> None:
    options = connection.get_execution_options()
    if not options.get("kubestead_write"):
        return
    if patience := options.get("kubestead_patience"):
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {int(patience * 1000)}")
    # READ COMMITTED, the default, matters: each statement after this one sees what the last writer committed.
    connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (WRITING_LOCK,))
