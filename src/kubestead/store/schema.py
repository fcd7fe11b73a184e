# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables as the code sees them. The migrations make them; a test holds the two together."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import sqlalchemy as sa


class UtcDateTime(sa.TypeDecorator[datetime]):
    """A moment in UTC. SQLite keeps no zone: it is taken off on the way in and put back on the way out."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Refuse a moment without a zone: it would be read as another one later."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment without a time zone")
        value = value.astimezone(timezone.utc)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> datetime | None:
        """Give every moment back with its zone."""
        if value is None:
            return None
        moment: datetime = value
        if moment.tzinfo is None:
            return moment.replace(tzinfo=timezone.utc)
        return moment.astimezone(timezone.utc)


metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# A machine is here from its first report, datum or lock on; `state` is empty until it has reported one.
machines = sa.Table(
    "machines",
    metadata,
    sa.Column("mac", sa.String(17), primary_key=True),
    sa.Column("state", sa.String(32)),
    sa.Column("phase", sa.String(128)),
    sa.Column("progress", sa.Integer, sa.CheckConstraint("progress BETWEEN 0 AND 100", name="progress")),
    sa.Column("message", sa.Text),
    sa.Column("error", sa.Text),
    sa.Column("updated_at", UtcDateTime, nullable=False),
    sa.Column("since", UtcDateTime),
    sa.Column("deadline_at", UtcDateTime),
    sa.Column("locked", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("version", sa.Integer, nullable=False, server_default="0"),
    sa.Column("address", sa.String(64)),
    sa.Column("install_attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("desired_install_id", sa.String(32)),
    sa.Column("completed_install_id", sa.String(32)),
    sa.Column("overwrite", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("handed_out_at", UtcDateTime),
    sa.Column("rescue_from", sa.String(32)),
    sa.Column("rescued_at", UtcDateTime),
)

# Append-only: nothing in the program changes or removes an event. An event may name a machine that only the
# registry knows. Thousands of reports a second outgrow 32 bits; SQLite's integers are wide by themselves.
events = sa.Table(
    "events",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("kind", sa.String(32), nullable=False, server_default="report"),
    sa.Column("mac", sa.String(17)),
    sa.Column("state", sa.String(32)),
    sa.Column("previous_state", sa.String(32)),
    sa.Column("phase", sa.String(128)),
    sa.Column("progress", sa.Integer),
    sa.Column("message", sa.Text),
    sa.Column("error", sa.Text),
    sa.Column("features", sa.Text, nullable=False, server_default="{}"),  # JSON: what this report said
    sa.Column("actor", sa.Text),
    sa.Column("correlation_id", sa.String(64)),
    sa.Index("ix_events_mac_id", "mac", "id"),
    sqlite_autoincrement=True,
)

machine_data = sa.Table(
    "machine_data",
    metadata,
    sa.Column("mac", sa.String(17), sa.ForeignKey("machines.mac"), primary_key=True),
    sa.Column("key", sa.String(128), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),  # JSON
    sa.Column("updated_at", UtcDateTime, nullable=False),
)

machine_features = sa.Table(
    "machine_features",
    metadata,
    sa.Column("mac", sa.String(17), sa.ForeignKey("machines.mac"), primary_key=True),
    sa.Column("feature", sa.String(64), primary_key=True),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("updated_at", UtcDateTime, nullable=False),
)

# `digest` is the SHA-256 of the secret, which is not kept. A token of a machine or of an installer names the
# machine, others name none. `install_id`: of which installation it is; an installer's also has the attempt.
tokens = sa.Table(
    "tokens",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("scope", sa.String(16), nullable=False),
    sa.Column("mac", sa.String(17)),
    sa.Column("digest", sa.String(64), nullable=False, unique=True),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("expires_at", UtcDateTime),
    sa.Column("revoked_at", UtcDateTime),
    sa.Column("last_used_at", UtcDateTime),
    sa.Column("install_id", sa.String(32)),
    sa.Column("attempt", sa.Integer),
    sa.CheckConstraint("scope IN ('operator', 'read', 'machine', 'install')", name="scope"),
    sa.CheckConstraint("(scope IN ('machine', 'install')) = (mac IS NOT NULL)", name="mac"),
    sa.CheckConstraint(
        "(scope = 'install') = (attempt IS NOT NULL) AND (attempt IS NULL OR install_id IS NOT NULL)",
        name="install",
    ),
    sqlite_autoincrement=True,
)

# One row a claim, for good: its name can be taken once.
claims = sa.Table(
    "claims",
    metadata,
    sa.Column("name", sa.String(128), primary_key=True),
    sa.Column("holder", sa.String(255), nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("data", sa.Text),  # JSON
    sa.Column("claimed_at", UtcDateTime, nullable=False),
    sa.Column("initialized_at", UtcDateTime),
    sa.CheckConstraint("state IN ('claimed', 'initialized')", name="state"),
)

# A machine that asks to be adopted, until a person has decided, and for a while after that. `digest` is that
# of the secret that becomes its token.
enrolments = sa.Table(
    "enrolments",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("code", sa.String(16), nullable=False),
    sa.Column("mac", sa.String(17), nullable=False),
    sa.Column("hostname", sa.String(253), nullable=False),
    sa.Column("addresses", sa.Text, nullable=False),  # JSON
    sa.Column("hardware", sa.Text, nullable=False),  # JSON
    sa.Column("peer", sa.String(64)),
    sa.Column("digest", sa.String(64), nullable=False, unique=True),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("expires_at", UtcDateTime, nullable=False),
    sa.Column("decision", sa.String(16)),
    sa.Column("decided_at", UtcDateTime),
    sa.Column("decided_by", sa.Text),
    sa.CheckConstraint("decision IN ('approved', 'refused')", name="decision"),
)
