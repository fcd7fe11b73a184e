# SPDX-License-Identifier: GPL-3.0-or-later
"""Tokens: made once, shown once, kept as a hash."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from .errors import UnknownTokenError
from .records import INSTALL, SCOPES, TokenRecord
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
    tokens.c.install_id,
    tokens.c.attempt,
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
    """Make a token of 256 bits for a person or a machine; the secret is given this once."""
    if scope not in SCOPES:
        raise ValueError(f'"{scope}" is no scope, expected one of {", ".join(SCOPES)}')
    secret = new_secret(scope)
    made = keep(connection, name, scope, digest(secret), mac=mac, expires_at=expires_at, now=now)
    return made, secret


def new_secret(scope: str) -> str:
    """A secret of 256 bits, which no table has yet."""
    return f"ks{scope[0]}_{secrets.token_urlsafe(32)}"


def keep(
    connection: sa.Connection,
    name: str,
    scope: str,
    hashed: str,
    *,
    mac: str | None,
    expires_at: datetime | None,
    now: datetime,
    install_id: str | None = None,
    attempt: int | None = None,
) -> TokenRecord:
    """Let the secret with this hash be a token from now on."""
    if (scope in ("machine", INSTALL)) != (mac is not None):
        raise ValueError(f"a token of scope {scope} {'needs a' if mac is None else 'has no'} machine")
    row: dict[str, Any] = {"name": name, "scope": scope, "mac": mac, "created_at": now}
    row |= {"expires_at": expires_at, "install_id": install_id, "attempt": attempt}
    made = connection.execute(
        tokens.insert().values(digest=hashed, **row).returning(tokens.c.id)
    ).scalar_one()
    return TokenRecord(made, name, scope, mac, now, expires_at, None, None, install_id, attempt)


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


def revoke_all(connection: sa.Connection, mac: str, scopes: Collection[str], now: datetime) -> None:
    """Close all tokens of a machine that have one of these scopes."""
    connection.execute(
        tokens.update()
        .where(tokens.c.mac == mac, tokens.c.scope.in_(scopes), tokens.c.revoked_at.is_(None))
        .values(revoked_at=now)
    )


def forget_installers(connection: sa.Connection, mac: str) -> None:
    """Take an earlier installation's tokens off the table; they are revoked, and their attempts long over."""
    connection.execute(tokens.delete().where(tokens.c.mac == mac, tokens.c.scope == INSTALL))


def count_of_attempt(connection: sa.Connection, mac: str, install_id: str, attempt: int) -> int:
    """How many tokens an attempt has had."""
    return connection.execute(
        sa.select(sa.func.count())
        .select_from(tokens)
        .where(tokens.c.mac == mac, tokens.c.install_id == install_id, tokens.c.attempt == attempt)
    ).scalar_one()


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
