# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person does with a whole store: back it up, restore it, move it to the other kind of database."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

import psycopg
import sqlalchemy as sa

from . import copying, database, dump, sqlite_file
from .errors import StoreError
from .migrate import current_revision, known_revisions, migrate, migrate_within, newer
from .schema import metadata
from .use import UseLock


def backup(url: str, path: Path) -> None:
    """Write a copy of the store into the file `path`, while it may be written to.

    A SQLite store becomes a SQLite file, a PostgreSQL store a dump in pg_dump's custom format. A file that is
    there already is replaced at the end, if it is an earlier backup.
    """
    backup_of(database.parse_url(url), path)


def backup_of(url: sa.URL, path: Path) -> None:
    """The same for a URL that has been read."""
    if path.exists():
        _check_backup(path, f"{path} is there already and no backup: name another file")
    if url.drivername != "sqlite":
        with _written(path) as part, _opened(url) as engine:
            with _plain_errors(url), engine.connect() as connection:
                _require_ours(connection, url)
                tables = [name for name in sa.inspect(connection).get_table_names() if name in _OUR_TABLES]
            dump.make(engine, tables, part)
        return
    file = _existing(url)
    if path.exists() and path.samefile(file):
        raise StoreError(f"{path} is the store itself: name another file")
    with _written(path) as part:
        sqlite_file.copy(file, part)


def restore(path: Path, url: str) -> None:
    """Make the store what the backup `path` holds, if all of that is good and nobody uses the store.

    What a SQLite store held before stays beside it as a file; what a PostgreSQL store held is gone.
    """
    target = database.parse_url(url)
    if _starts_with(path, sqlite_file.MAGIC):
        revision = sqlite_file.check_whole(path)
        if revision not in known_revisions():
            raise StoreError(newer(str(path), revision))
        _restore_file(path, target)
    elif _starts_with(path, dump.MAGIC):
        if target.drivername == "sqlite":
            raise StoreError(
                f"{path} is a backup of a PostgreSQL store: restore it there, then `kubestead store move`"
            )
        dumped = dump.Dump(path)
        if dumped.revision not in known_revisions():
            raise StoreError(newer(str(path), dumped.revision))
        _restore_dump(dumped, target)
    else:
        raise StoreError(
            f"{path} is no backup of a state store: expected a file that `kubestead backup` made"
        )


def move(source_url: str, target_url: str) -> dict[str, int]:
    """Copy a store that nobody uses into an empty database, of either kind; give the rows of each table.

    The source stays as it is.
    """
    source, target = database.parse_url(source_url), database.parse_url(target_url)
    if source.drivername == "sqlite":
        _existing(source)
    with _alone(source) as origin:
        _require_ours(origin, source)
        migrate_within(origin)
        with _alone(target) as destination:
            _require_empty(destination, target)
            migrate_within(destination)
            return copying.copy_rows(origin, destination)


_OUR_TABLES = frozenset({dump.VERSION_TABLE, *metadata.tables})


def _restore_file(path: Path, target: sa.URL) -> None:
    with tempfile.TemporaryDirectory(prefix=".restore-", dir=_room(target)) as folder:
        copied = Path(folder, "store.db")
        sqlite_file.copy(path, copied)
        with _opened(database.parse_url(database.sqlite_url(copied))) as engine:
            migrate(engine)
            if target.drivername != "sqlite":
                with engine.connect() as source, _replaced(target) as destination:
                    migrate_within(destination)
                    copying.copy_rows(source, destination)
                return
        _replace_file(Path(str(target.database)), copied)


def _replace_file(file: Path, content: Path) -> None:
    use = UseLock(file, alone=True)
    try:
        fresh = not file.exists()
        if not fresh:
            sqlite_file.check_ours(file)
            kept = file.with_name(f"{file.name}.{datetime.now(timezone.utc):%Y-%m-%dT%H%M%SZ}~")
            with _written(kept) as part:
                sqlite_file.copy(file, part)
        sqlite_file.overwrite(file, content)
        if fresh:
            _give_to_owner_of_folder(file)
    finally:
        use.release()


def _restore_dump(dumped: dump.Dump, target: sa.URL) -> None:
    with _replaced(target) as connection:
        migrate_within(connection, dumped.revision)
        dumped.load(connection)
        migrate_within(connection)
        copying.set_sequences(connection)


@contextmanager
def _replaced(target: sa.URL) -> Iterator[sa.Connection]:
    """A transaction in a PostgreSQL database that is ours or empty, after its tables have gone."""
    with _alone(target) as connection:
        tables = set(sa.inspect(connection).get_table_names())
        if tables and not (tables >= dump.FIRST_TABLES and tables <= _OUR_TABLES):
            raise StoreError(
                f"the database {database.title(target)} holds tables that Kubestead has not made "
                f"({', '.join(sorted(tables - _OUR_TABLES))}): name another"
            )
        for table in [*reversed(metadata.sorted_tables), sa.table(dump.VERSION_TABLE)]:
            if table.name in tables:
                connection.exec_driver_sql(f"DROP TABLE {table.name}")
        yield connection


@contextmanager
def _alone(url: sa.URL) -> Iterator[sa.Connection]:
    """A writing transaction in a store that nobody else has open, nor can open until its end."""
    use: UseLock | None = None
    if url.drivername == "sqlite":
        _room(url)
        use = UseLock(Path(str(url.database)), alone=True)
    try:
        with _opened(url) as engine, _writing(engine, url) as connection:
            if (
                use is None
                and not connection.exec_driver_sql(
                    "SELECT pg_try_advisory_xact_lock(%s)", (database.USE_LOCK,)
                ).scalar_one()
            ):
                raise StoreError(
                    f"the store {database.title(url)} is in use: stop every State API that it serves first "
                    "(systemctl stop machine-state-api)"
                )
            yield connection
        if use is not None:
            _give_to_owner_of_folder(Path(str(url.database)))
    finally:
        if use is not None:
            use.release()


@contextmanager
def _writing(engine: sa.Engine, url: sa.URL) -> Iterator[sa.Connection]:
    with (
        _plain_errors(url),
        engine.connect().execution_options(kubestead_write=True) as connection,
        connection.begin(),
    ):
        yield connection


@contextmanager
def _opened(url: sa.URL) -> Iterator[sa.Engine]:
    engine = database.open_engine(url, mark_use=False)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def _plain_errors(url: sa.URL) -> Iterator[None]:
    try:
        yield
    except sa.exc.DBAPIError as error:
        raise StoreError(
            f"the database {database.title(url)} cannot be used: {database.reason(error)}"
        ) from error
    except psycopg.Error as error:
        raise StoreError(
            f"the database {database.title(url)} refuses a row: {database.reason(error)}"
        ) from error


@contextmanager
def _written(path: Path) -> Iterator[Path]:
    """A new file beside `path`, for its owner only, that takes its place at the end."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        yield part
        os.replace(part, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def _check_backup(path: Path, otherwise: str) -> None:
    if _starts_with(path, dump.MAGIC):
        return
    try:
        sqlite_file.check_ours(path)
    except StoreError as error:
        raise StoreError(otherwise) from error


def _starts_with(path: Path, magic: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(magic)) == magic
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror or error}") from error


def _existing(url: sa.URL) -> Path:
    file = Path(str(url.database))
    if not file.exists():
        raise StoreError(f"there is no store {file}: name the one that the State API has (--database)")
    return file


def _room(url: sa.URL) -> Path | None:
    """The folder of a SQLite store, where there is room for another like it; None for a server."""
    if url.drivername != "sqlite":
        return None
    folder = Path(str(url.database)).absolute().parent
    if not folder.is_dir():
        raise StoreError(f"the folder {folder} is not there: make it first, for the user of the State API")
    return folder


def _require_ours(connection: sa.Connection, url: sa.URL) -> None:
    if current_revision(connection) is None or not sa.inspect(connection).has_table("machines"):
        raise StoreError(f"the database {database.title(url)} holds no state store of Kubestead")


def _require_empty(connection: sa.Connection, url: sa.URL) -> None:
    tables = set(sa.inspect(connection).get_table_names())
    if not tables <= _OUR_TABLES:
        raise StoreError(
            f"the database {database.title(url)} holds tables that Kubestead has not made: name an empty one"
        )
    full = [name for name in sorted(tables) if name in metadata.tables and _has_rows(connection, name)]
    if full:
        raise StoreError(
            f"the store {database.title(url)} is not empty (it has {', '.join(full)}): name an empty database"
        )


def _has_rows(connection: sa.Connection, table: str) -> bool:
    return (
        connection.execute(sa.select(sa.literal(1)).select_from(sa.table(table)).limit(1)).first() is not None
    )


def _give_to_owner_of_folder(file: Path) -> None:
    """What root makes must be the service's to use."""
    if os.geteuid() != 0:
        return
    owner = file.absolute().parent.stat()
    for each in (file, *(file.with_name(file.name + suffix) for suffix in ("-wal", "-shm"))):
        if each.exists():
            os.chown(each, owner.st_uid, owner.st_gid)
