# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines that ask to be adopted."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make their table."""
    op.create_table(
        "enrolments",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("code", sa.String(16), nullable=False),
        sa.Column("mac", sa.String(17), nullable=False),
        sa.Column("hostname", sa.String(253), nullable=False),
        sa.Column("addresses", sa.Text, nullable=False),
        sa.Column("hardware", sa.Text, nullable=False),
        sa.Column("peer", sa.String(64)),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.Column("decision", sa.String(16)),
        sa.Column("decided_at", MOMENT),
        sa.Column("decided_by", sa.Text),
        sa.CheckConstraint("decision IN ('approved', 'refused')", name="ck_enrolments_decision"),
        sa.PrimaryKeyConstraint("id", name="pk_enrolments"),
        sa.UniqueConstraint("digest", name="uq_enrolments_digest"),
    )
