# SPDX-License-Identifier: GPL-3.0-or-later
"""Transactions: what has returned is on disk, what has not left no trace."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone

import sqlalchemy as sa

from . import database
from .bulk import Bulk
from .errors import StoreUnavailableError
from .transitions import Deadlines


class Transactions:
    """A database, one writer at a time; may be used from many threads, and by several processes at once."""

    def __init__(self, url: str, deadlines: Deadlines) -> None:
        """Know the database at `url`; nothing is asked of it yet."""
        self._engine = database.open_engine(url)
        self._bulk = Bulk(self._engine.dialect.name)
        self._deadlines = deadlines
        self._writing = threading.Lock()  # our own writers queue here, fairly, not in SQLite's busy loop

    @contextmanager
    def _written(self) -> Iterator[sa.Connection]:
        if not self._writing.acquire(timeout=database.BUSY_TIMEOUT_SECONDS):
            raise StoreUnavailableError("the state store did not answer: others are waiting to write")
        try:
            with (
                _plain_errors(),
                self._engine.connect().execution_options(kubestead_write=True) as connection,
                connection.begin(),
            ):
                yield connection
        finally:
            self._writing.release()

    def _tokens_changed(self) -> None:
        """Some tokens were closed: what is remembered of them counts no more."""

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with _plain_errors(), self._engine.connect() as connection, connection.begin():
            yield connection


@contextmanager
def _plain_errors() -> Iterator[None]:
    try:
        yield
    except (sa.exc.DatabaseError, sa.exc.InterfaceError, sa.exc.TimeoutError) as error:
        raise StoreUnavailableError(f"the state store did not answer: {database.reason(error)}") from error


def moment_now() -> datetime:
    """This moment, in UTC."""
    return datetime.now(timezone.utc)
