# SPDX-License-Identifier: GPL-3.0-or-later
"""Bringing a database to the schema of this program."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from .errors import StoreError

MIGRATIONS = Path(__file__).with_name("migrations")


def migrate(engine: sa.Engine) -> None:
    """Bring the database to the newest schema, in one transaction; refuse one that is not ours or newer."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    with engine.connect().execution_options(kubestead_write=True) as connection, connection.begin():
        current = MigrationContext.configure(connection).get_current_revision()
        if current is not None and current not in known:
            raise StoreError(
                f"the database {engine.url.database} has schema {current}, which this program does not "
                "know: a newer Kubestead has written it. Install that one again, or restore a backup."
            )
        if current is None and sa.inspect(connection).get_table_names():
            raise StoreError(
                f"the database {engine.url.database} holds tables that Kubestead has not made: "
                "name another file, or move this one away."
            )
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
