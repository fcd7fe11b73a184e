# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines, their events, data and features.

Written out, not made from `schema.py`: a migration stays as it was when the schema has gone on.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

APPLICATION_ID = 0x4B626564


def upgrade() -> None:
    """Make the first tables, and mark the file as ours."""
    if op.get_bind().dialect.name == "sqlite":
        op.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "machines",
        sa.Column("mac", sa.String(17), nullable=False),
        sa.Column("state", sa.String(32)),
        sa.Column("phase", sa.String(128)),
        sa.Column("progress", sa.Integer),
        sa.Column("message", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("updated_at", moment, nullable=False),
        sa.CheckConstraint("progress BETWEEN 0 AND 100", name="ck_machines_progress"),
        sa.PrimaryKeyConstraint("mac", name="pk_machines"),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.Integer, nullable=False, autoincrement=True),
        sa.Column("mac", sa.String(17), nullable=False),
        sa.Column("at", moment, nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("phase", sa.String(128)),
        sa.Column("progress", sa.Integer),
        sa.Column("message", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("features", sa.Text, nullable=False),
        sa.Column("correlation_id", sa.String(64)),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
        sa.ForeignKeyConstraint(["mac"], ["machines.mac"], name="fk_events_mac_machines"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_mac_id", "events", ["mac", "id"])
    op.create_table(
        "machine_data",
        sa.Column("mac", sa.String(17), nullable=False),
        sa.Column("key", sa.String(128), nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("updated_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("mac", "key", name="pk_machine_data"),
        sa.ForeignKeyConstraint(["mac"], ["machines.mac"], name="fk_machine_data_mac_machines"),
    )
    op.create_table(
        "machine_features",
        sa.Column("mac", sa.String(17), nullable=False),
        sa.Column("feature", sa.String(64), nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("updated_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("mac", "feature", name="pk_machine_features"),
        sa.ForeignKeyConstraint(["mac"], ["machines.mac"], name="fk_machine_features_mac_machines"),
    )
