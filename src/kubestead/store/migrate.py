# SPDX-License-Identifier: GPL-3.0-or-later
"""Bringing a database to the schema of this program."""

from __future__ import annotations

import threading
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from .database import MIGRATION_PATIENCE_SECONDS, title
from .errors import StoreError

MIGRATIONS = Path(__file__).with_name("migrations")
_one_at_a_time = threading.Lock()  # Alembic keeps what it is doing in module variables


def migrate(engine: sa.Engine) -> None:
    """Bring the database to the newest schema, in one transaction; refuse one that is not ours or newer.

    Of several programs that start at once the first migrates and the others wait for it.
    """
    options = {"kubestead_write": True, "kubestead_patience": MIGRATION_PATIENCE_SECONDS}
    with engine.connect().execution_options(**options) as connection, connection.begin():
        migrate_within(connection)


def migrate_within(connection: sa.Connection, revision: str = "head") -> None:
    """The same in a writing transaction of the caller."""
    name = title(connection.engine.url)
    _check_encoding(connection, name)
    current = current_revision(connection)
    if current is not None and current not in known_revisions():
        raise StoreError(newer(f"the database {name}", current))
    if current is None and sa.inspect(connection).get_table_names():
        raise StoreError(
            f"the database {name} holds tables that Kubestead has not made: "
            "name another, or move this one away."
        )
    config = _config()
    config.attributes["connection"] = connection
    with _one_at_a_time:
        command.upgrade(config, revision)


def _check_encoding(connection: sa.Connection, name: str) -> None:
    if connection.dialect.name != "postgresql":
        return
    encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
    if encoding != "UTF8":
        raise StoreError(
            f"the database {name} has the encoding {encoding}, which does not take every text: "
            "make another with `createdb --encoding=UTF8 --template=template0`."
        )


def current_revision(connection: sa.Connection) -> str | None:
    """The schema that a database has; None where we have made none."""
    return MigrationContext.configure(connection).get_current_revision()


def known_revisions() -> list[str]:
    """The schemas that this program knows, newest first."""
    return [script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()]


def newer(what: str, revision: str) -> str:
    """The sentence for a schema that this program does not know."""
    return (
        f"{what} has schema {revision}, which this program does not know: a newer Kubestead has written it. "
        "Install that one again, or restore a backup."
    )


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config
