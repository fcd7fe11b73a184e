# SPDX-License-Identifier: GPL-3.0-or-later
"""Lifecycle, locks, install ids and deadlines of machines; events of other kinds; tokens; claims.

Machines in a state with a deadline get a whole one, from now on.
"""

from datetime import datetime, timedelta, timezone

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

MOMENT = sa.DateTime(timezone=True)
SECONDS = {"install_pending": 86400, "installing": 3600, "provisioning": 1800, "rescue": 86400}


def upgrade() -> None:
    """Widen the machines and events, and make the new tables."""
    for column in (
        sa.Column("since", MOMENT),
        sa.Column("deadline_at", MOMENT),
        sa.Column("locked", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("version", sa.Integer, nullable=False, server_default="0"),
        sa.Column("address", sa.String(64)),
        sa.Column("install_attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("desired_install_id", sa.String(32)),
        sa.Column("completed_install_id", sa.String(32)),
    ):
        op.add_column("machines", column)
    _widen_events()
    _fill()
    op.create_table(
        "tokens",
        sa.Column("id", sa.Integer, nullable=False, autoincrement=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("scope", sa.String(16), nullable=False),
        sa.Column("mac", sa.String(17)),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT),
        sa.Column("revoked_at", MOMENT),
        sa.Column("last_used_at", MOMENT),
        sa.CheckConstraint("scope IN ('operator', 'read', 'machine')", name="ck_tokens_scope"),
        sa.CheckConstraint("(scope = 'machine') = (mac IS NOT NULL)", name="ck_tokens_mac"),
        sa.PrimaryKeyConstraint("id", name="pk_tokens"),
        sa.UniqueConstraint("digest", name="uq_tokens_digest"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "claims",
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("holder", sa.String(255), nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("data", sa.Text),
        sa.Column("claimed_at", MOMENT, nullable=False),
        sa.Column("initialized_at", MOMENT),
        sa.CheckConstraint("state IN ('claimed', 'initialized')", name="ck_claims_state"),
        sa.PrimaryKeyConstraint("name", name="pk_claims"),
    )


def _widen_events() -> None:
    # SQLite cannot drop a key or a NOT NULL: there the table is copied, in this transaction.
    new = (
        sa.Column("kind", sa.String(32), nullable=False, server_default="report"),
        sa.Column("previous_state", sa.String(32)),
        sa.Column("actor", sa.Text),
    )
    with op.batch_alter_table("events", table_kwargs={"sqlite_autoincrement": True}) as events:
        events.drop_constraint("fk_events_mac_machines", type_="foreignkey")
        for column in new:
            events.add_column(column)
        events.alter_column("mac", existing_type=sa.String(17), nullable=True)
        events.alter_column("state", existing_type=sa.String(32), nullable=True)
        events.alter_column("features", existing_type=sa.Text, existing_nullable=False, server_default="{}")
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column("events", "id", existing_type=sa.Integer, type_=sa.BigInteger)
        op.execute("ALTER SEQUENCE events_id_seq AS bigint")


def _fill() -> None:
    op.execute(
        "UPDATE events SET previous_state = (SELECT before.state FROM events AS before"
        " WHERE before.mac = events.mac AND before.id < events.id ORDER BY before.id DESC LIMIT 1)"
    )
    op.execute(
        "UPDATE events SET kind = 'transition' WHERE previous_state IS NULL OR previous_state <> state"
    )
    op.execute(
        "UPDATE machines SET version = 1, since = coalesce((SELECT max(events.at) FROM events"
        " WHERE events.mac = machines.mac AND events.kind = 'transition'), updated_at)"
        " WHERE state IS NOT NULL"
    )
    now = datetime.now(timezone.utc)
    if op.get_bind().dialect.name == "sqlite":
        now = now.replace(tzinfo=None)
    machines = sa.table("machines", sa.column("state", sa.String), sa.column("deadline_at", MOMENT))
    for state, seconds in SECONDS.items():
        deadline = now + timedelta(seconds=seconds)
        op.execute(machines.update().where(machines.c.state == state).values(deadline_at=deadline))
