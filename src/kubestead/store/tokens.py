# SPDX-License-Identifier: GPL-3.0-or-later
"""Tokens: made once, shown once, kept as a hash."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from .errors import UnknownTokenError
from .records import SCOPES, TokenRecord
from .schema import tokens

_COLUMNS = sa.select(
    tokens.c.id,
    tokens.c.name,
    tokens.c.scope,
    tokens.c.mac,
    tokens.c.created_at,
    tokens.c.expires_at,
    tokens.c.revoked_at,
    tokens.c.last_used_at,
)


def digest(secret: str) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


def create(
    connection: sa.Connection,
    name: str,
    scope: str,
    *,
    mac: str | None,
    expires_at: datetime | None,
    now: datetime,
) -> tuple[TokenRecord, str]:
    """Make a token of 256 bits; the secret is given this once."""
    if scope not in SCOPES:
        raise ValueError(f'"{scope}" is no scope, expected one of {", ".join(SCOPES)}')
    if (scope == "machine") != (mac is not None):
        raise ValueError("a token of scope machine names its machine, and no other token does")
    secret = f"ks{scope[0]}_{secrets.token_urlsafe(32)}"
    row = {"name": name, "scope": scope, "mac": mac, "created_at": now, "expires_at": expires_at}
    made = connection.execute(
        tokens.insert().values(digest=digest(secret), **row).returning(tokens.c.id)
    ).scalar_one()
    return TokenRecord(made, name, scope, mac, now, expires_at, None, None), secret


def listed(connection: sa.Connection) -> list[TokenRecord]:
    """All tokens, also those that open nothing any more."""
    return [_record(row) for row in connection.execute(_COLUMNS.order_by(tokens.c.id))]


def find(connection: sa.Connection, hashed: str) -> TokenRecord | None:
    """The token with this hash."""
    row = connection.execute(_COLUMNS.where(tokens.c.digest == hashed)).one_or_none()
    return None if row is None else _record(row)


def revoke(connection: sa.Connection, number: int, now: datetime) -> tuple[TokenRecord, bool]:
    """Close a token for good; tell whether it was open until now."""
    row = connection.execute(_COLUMNS.where(tokens.c.id == number)).one_or_none()
    if row is None:
        raise UnknownTokenError(
            f"there is no token {number}: `kubestead token list` shows those that there are"
        )
    if row.revoked_at is not None:
        return _record(row), False
    connection.execute(tokens.update().where(tokens.c.id == number).values(revoked_at=now))
    return replace(_record(row), revoked_at=now), True


def mark_used(connection: sa.Connection, uses: Mapping[int, datetime]) -> None:
    """Note when tokens were last used."""
    statement = (
        tokens.update()
        .where(tokens.c.id == sa.bindparam("number"))
        .where(sa.or_(tokens.c.last_used_at.is_(None), tokens.c.last_used_at < sa.bindparam("moment")))
        .values(last_used_at=sa.bindparam("moment"))
    )
    connection.execute(statement, [{"number": number, "moment": at} for number, at in uses.items()])


def _record(row: Any) -> TokenRecord:
    return TokenRecord(*row)
