# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups of a PostgreSQL store: made by pg_dump, read by pg_restore.

Of a dump only rows are taken, into tables that our own migrations make: no statement that stands in the
file is ever executed.
"""

from __future__ import annotations

import glob
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

import psycopg
import sqlalchemy as sa
from psycopg import sql
from psycopg.conninfo import make_conninfo

from .errors import StoreError
from .schema import metadata

MAGIC = b"PGDMP"
VERSION_TABLE = "alembic_version"
FIRST_TABLES = frozenset({VERSION_TABLE, "machines", "events", "machine_data", "machine_features"})
_KNOWN_TABLES = frozenset({VERSION_TABLE, *metadata.tables})
_LISTED = re.compile(r"^\d+; \d+ \d+ TABLE DATA \S+ (\S+) ")
_COPY = re.compile(rb"^COPY \S+ \(([^)]*)\) FROM stdin;$")


def make(engine: sa.Engine, tables: list[str], path: Path) -> None:
    """Dump `tables` as they are at one moment into the file `path`. Who writes meanwhile need not wait."""
    understood = {option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()}
    given = engine.dialect.create_connect_args(engine.url)[1]
    options = {name: value for name, value in given.items() if name in understood}
    password = options.pop("password", None)
    command = [_program("pg_dump"), "--format=custom", "--no-owner", "--no-privileges", "--no-password"]
    command += ["--lock-wait-timeout=10s", f"--file={path}", f"--dbname={make_conninfo(**options)}"]
    command += [f"--table={table}" for table in tables]
    # The command line is everyone's to read, the environment is not.
    environment = os.environ if password is None else {**os.environ, "PGPASSWORD": str(password)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StoreError(f"pg_dump has failed: {done.stderr.strip()}")
    Dump(path)
    with path.open("rb") as file:
        os.fsync(file.fileno())


class Dump:
    """A dump of ours."""

    def __init__(self, path: Path) -> None:
        """Refuse a file that is not one."""
        self.path = path
        listing = b"".join(self._lines("--list")).decode(errors="replace")
        found = {match[1].strip('"') for line in listing.splitlines() if (match := _LISTED.match(line))}
        if not found >= FIRST_TABLES or not found <= _KNOWN_TABLES:
            raise StoreError(
                f"{path} is a PostgreSQL dump, but of no state store of Kubestead: "
                f"it has the tables {', '.join(sorted(found)) or 'of nobody'}"
            )
        # Machines first: others refer to them, in the first schema events too.
        self.tables = sorted(found - {VERSION_TABLE}, key=lambda name: (name != "machines", name))
        _columns, *rows = self._rows(VERSION_TABLE)
        if len(rows) != 1:
            raise self._damaged("it does not say which schema it has")
        self.revision = rows[0].decode(errors="replace").strip()

    def load(self, connection: sa.Connection) -> None:
        """Put all rows into the tables, which are there in the dump's schema, and empty."""
        tables = {
            name: {column["name"] for column in columns}
            for (_schema, name), columns in sa.inspect(connection).get_multi_columns().items()
            if name != VERSION_TABLE
        }
        if set(self.tables) != set(tables):
            raise self._damaged(
                f"it has the tables {', '.join(self.tables)}, not {', '.join(sorted(tables))}"
            )
        driver = cast("psycopg.Connection[Any]", connection.connection.driver_connection)
        for table in self.tables:
            rows = self._rows(table)
            columns = [name.strip().strip('"') for name in next(rows).decode(errors="replace").split(",")]
            if set(columns) != tables[table]:
                raise self._damaged(f"{table} has the columns {', '.join(columns)}")
            statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
                sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
            )
            with driver.cursor() as cursor, cursor.copy(statement) as copy:
                for row in rows:
                    copy.write(row)

    def _rows(self, table: str) -> Iterator[bytes]:
        """The names of a table's columns, then its rows."""
        lines = self._lines("--data-only", f"--table={table}", "--file=-")
        for line in lines:
            if match := _COPY.match(line.rstrip(b"\n")):
                yield match[1]
                break
        else:
            raise self._damaged(f"it has no rows of {table}, nor their end")
        for line in lines:
            if line == b"\\.\n":
                break
            yield line
        else:
            raise self._damaged(f"the rows of {table} have no end")
        for _line in lines:  # to the end: only then is it known whether all could be read
            pass

    def _lines(self, *arguments: str) -> Iterator[bytes]:
        with tempfile.TemporaryFile() as errors:
            with subprocess.Popen(
                [_program("pg_restore"), *arguments, str(self.path)], stdout=subprocess.PIPE, stderr=errors
            ) as reading:
                output: IO[bytes] | None = reading.stdout
                if output is not None:
                    yield from output
            if reading.returncode:
                errors.seek(0)
                problem = errors.read().decode(errors="replace").strip()
                raise self._damaged(problem)

    def _damaged(self, problem: str) -> StoreError:
        return StoreError(f"{self.path} is damaged, or no dump: {problem}. Use another backup.")


def _program(name: str) -> str:
    # Debian keeps the programs of each release apart; a newer one reads what an older one has written.
    releases = sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"), key=_release)
    found = releases[-1] if releases else shutil.which(name)
    if found is None:
        raise StoreError(f"{name} is not installed (apt-get install postgresql-client)")
    return found


def _release(program: str) -> float:
    try:
        return float(Path(program).parts[-3])
    except ValueError:
        return 0
