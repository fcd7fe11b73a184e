# SPDX-License-Identifier: GPL-3.0-or-later
"""Attempts at installations: when they were handed out, whether the disk may be written, the tokens with
which installers report; and rescues.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Widen the machines and the tokens."""
    for column in (
        sa.Column("overwrite", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("handed_out_at", MOMENT),
        sa.Column("rescue_from", sa.String(32)),
        sa.Column("rescued_at", MOMENT),
    ):
        op.add_column("machines", column)
    # Until now the only way to be installed was a reinstallation, which erases the disk.
    op.execute(
        "UPDATE machines SET overwrite = true WHERE desired_install_id IS NOT NULL"
        " AND (completed_install_id IS NULL OR desired_install_id <> completed_install_id)"
    )
    # SQLite cannot drop a check: there the table is copied, in this transaction.
    with op.batch_alter_table("tokens", table_kwargs={"sqlite_autoincrement": True}) as tokens:
        tokens.add_column(sa.Column("install_id", sa.String(32)))
        tokens.add_column(sa.Column("attempt", sa.Integer))
        tokens.drop_constraint("ck_tokens_scope", type_="check")
        tokens.drop_constraint("ck_tokens_mac", type_="check")
        tokens.create_check_constraint(
            "ck_tokens_scope", "scope IN ('operator', 'read', 'machine', 'install')"
        )
        tokens.create_check_constraint(
            "ck_tokens_mac", "(scope IN ('machine', 'install')) = (mac IS NOT NULL)"
        )
        tokens.create_check_constraint(
            "ck_tokens_install",
            "(scope = 'install') = (attempt IS NOT NULL) AND (attempt IS NULL OR install_id IS NOT NULL)",
        )
