# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of a SQLite store: made while it is being written to, looked at before they are believed."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from .errors import StoreError

MAGIC = b"SQLite format 3\0"
APPLICATION_ID = 0x4B626564  # migration 0001 writes it into the file


def copy(database: Path, copied: Path) -> None:
    """Copy a store as it is at one moment into the new file `copied`. Who writes meanwhile need not wait."""
    check_ours(database)
    with (
        _named(database),
        closing(_open(database, "rw")) as source,
        closing(sqlite3.connect(copied)) as target,
    ):
        source.backup(target)
        target.execute(
            "PRAGMA journal_mode = DELETE"
        )  # one file, that a reader without rights to write can open
    with copied.open("rb") as file:
        os.fsync(file.fileno())


def overwrite(database: Path, content: Path) -> None:
    """Replace what the store `database` holds, in one transaction. Nobody else may have it open."""
    with _named(database), closing(_open(content, "ro")) as source, closing(_open(database, "rwc")) as target:
        target.execute("PRAGMA synchronous = FULL")
        source.backup(target)


def check_ours(database: Path) -> None:
    """Refuse a file that is no state store."""
    with _named(database):
        with database.open("rb") as file:
            start = file.read(len(MAGIC))
        if start != MAGIC:
            raise StoreError(f"{database} is no state store of Kubestead: it is no SQLite database")
        with closing(_open(database, "ro")) as connection:
            (found,) = connection.execute("PRAGMA application_id").fetchone()
        if found != APPLICATION_ID:
            raise StoreError(f"{database} is a SQLite database, but no state store of Kubestead")


def check_whole(database: Path) -> str:
    """Refuse a file that is not ours, or damaged; give its schema."""
    check_ours(database)
    with _named(database), closing(_open(database, "ro")) as connection:
        problems = [row[0] for row in connection.execute("PRAGMA integrity_check(3)") if row[0] != "ok"]
        problems += [
            f"a row of {row[0]} refers to a {row[2][:-1]} that is not there"
            for row in connection.execute("PRAGMA foreign_key_check").fetchmany(3)
        ]
        if problems:
            raise StoreError(f"{database} is damaged: {'; '.join(problems)}. Use another backup.")
        (revision,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(revision)


def _open(database: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(database))}?mode={mode}", uri=True, isolation_level=None)


@contextmanager
def _named(database: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise StoreError(
            f"{database} cannot be used: {error}. If it is damaged, use another backup."
        ) from error
    except OSError as error:
        raise StoreError(f"{database} cannot be read: {error.strerror or error}") from error
