# SPDX-License-Identifier: GPL-3.0-or-later
"""All rows of one store into the empty tables of another, of either kind."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from .errors import StoreError
from .schema import metadata

ROWS_AT_ONCE = 1000


def copy_rows(source: sa.Connection, target: sa.Connection) -> dict[str, int]:
    """Copy every table, and say how many rows each has; both have this program's schema."""
    copied: dict[str, int] = {}
    for table in metadata.sorted_tables:
        rows = source.execution_options(yield_per=ROWS_AT_ONCE).execute(
            sa.select(table).order_by(*table.primary_key)
        )
        for part in rows.partitions():
            target.execute(table.insert(), [_storable(row) for row in part])
        copied[table.name] = count(source, table)
        if count(target, table) != copied[table.name]:
            raise StoreError(f"not all rows of {table.name} have come over: nothing was changed, try again")
    set_sequences(target)
    return copied


def count(connection: sa.Connection, table: sa.Table) -> int:
    """How many rows a table has."""
    return connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


def set_sequences(connection: sa.Connection) -> None:
    """Let the ids that the database gives go on after those that are there. SQLite does that by itself."""
    if connection.dialect.name != "postgresql":
        return
    for table in metadata.sorted_tables:
        if table.autoincrement_column is None:
            continue
        column = table.autoincrement_column
        sequence = sa.func.pg_get_serial_sequence(table.name, column.name)
        greatest = sa.func.coalesce(sa.func.max(column), 1)
        connection.execute(
            sa.select(sa.func.setval(sequence, greatest, sa.func.count() > 0)).select_from(table)
        )


def _storable(row: sa.Row[Any]) -> dict[str, Any]:
    # SQLite takes a NUL as text, PostgreSQL does not. (The API takes none; early releases may have.)
    return {
        name: value.replace("\0", "\ufffd") if isinstance(value, str) else value
        for name, value in row._mapping.items()
    }
