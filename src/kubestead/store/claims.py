# SPDX-License-Identifier: GPL-3.0-or-later
"""Claims: whoever takes a name first may do the thing, once. Time alone never gives a claim to another."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from .errors import ClaimTakenError, UnknownClaimError
from .records import Claim
from .schema import claims


def find(connection: sa.Connection, name: str) -> Claim | None:
    """The claim, if anybody has taken it."""
    row = connection.execute(sa.select(claims).where(claims.c.name == name)).one_or_none()
    return None if row is None else _claim(row)


def listed(connection: sa.Connection) -> list[Claim]:
    """All claims, by name."""
    return [_claim(row) for row in connection.execute(sa.select(claims).order_by(claims.c.name))]


def take(connection: sa.Connection, name: str, holder: str, now: datetime) -> Claim:
    """Take the claim; asking again as its holder gives it again."""
    found = find(connection, name)
    if found is None:
        return _insert(connection, Claim(name, holder, 1, "claimed", None, now, None, new=True))
    if found.holder != holder:
        raise ClaimTakenError(f"{found.holder} holds the claim {name} (epoch {found.epoch})", found)
    return found


def complete(
    connection: sa.Connection, name: str, holder: str, *, epoch: int, data: Any, now: datetime
) -> tuple[Claim, bool]:
    """Say that the thing is done, with what others need to know; tell whether that was news."""
    found = find(connection, name)
    if found is None:
        raise UnknownClaimError(f"nobody has taken the claim {name}: take it first")
    if (found.holder, found.epoch) != (holder, epoch):
        raise ClaimTakenError(
            f"{found.holder} holds the claim {name} in epoch {found.epoch}, not {holder} in epoch {epoch}",
            found,
        )
    if found.state == "initialized":
        if found.data == data:
            return found, False
        raise ClaimTakenError(f"the claim {name} is initialized for good, with other data than these", found)
    done = replace(found, state="initialized", data=data, initialized_at=now)
    connection.execute(
        claims.update()
        .where(claims.c.name == name)
        .values(state=done.state, data=json.dumps(data, allow_nan=False), initialized_at=now)
    )
    return done, True


def force(connection: sa.Connection, name: str, holder: str, now: datetime) -> Claim:
    """Give the claim to `holder` whoever has it, in a new epoch; what was done before does not count."""
    found = find(connection, name)
    taken = Claim(name, holder, found.epoch + 1 if found else 1, "claimed", None, now, None, new=True)
    if found is None:
        return _insert(connection, taken)
    values = {"holder": holder, "epoch": taken.epoch, "state": "claimed", "claimed_at": now}
    connection.execute(
        claims.update().where(claims.c.name == name).values(data=None, initialized_at=None, **values)
    )
    return taken


def release(connection: sa.Connection, name: str, epoch: int) -> Claim | None:
    """Let go of a claim, since what was done is no more; None when nobody has it any longer."""
    found = find(connection, name)
    if found is None:
        return None
    if found.epoch != epoch:
        raise ClaimTakenError(
            f"the claim {name} has been taken anew since: {found.holder} holds it in epoch {found.epoch}, "
            f"not {epoch}",
            found,
        )
    connection.execute(claims.delete().where(claims.c.name == name))
    return found


def _insert(connection: sa.Connection, claim: Claim) -> Claim:
    connection.execute(
        claims.insert().values(
            name=claim.name,
            holder=claim.holder,
            epoch=claim.epoch,
            state=claim.state,
            claimed_at=claim.claimed_at,
        )
    )
    return claim


def _claim(row: Any) -> Claim:
    data = None if row.data is None else json.loads(row.data)
    return Claim(row.name, row.holder, row.epoch, row.state, data, row.claimed_at, row.initialized_at)
