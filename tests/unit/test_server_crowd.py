# SPDX-License-Identifier: GPL-3.0-or-later
"""A thousand machines that come at once: nobody stands in line for a thread of the store each."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubestead.api.auth import TRUSTED_SECONDS, Doorkeeper, Token
from kubestead.store import Store, StoreUnavailableError, TokenRecord

MACHINES = 120


class Counted:
    """A store that counts what it is asked."""

    def __init__(self, store: Store) -> None:
        self.store, self.found, self.listed, self.broken = store, 0, 0, False

    def find_token(self, secret: str) -> TokenRecord | None:
        self.found += 1
        if self.broken:
            raise StoreUnavailableError("gone")
        return self.store.find_token(secret)

    def tokens(self) -> list[TokenRecord]:
        self.listed += 1
        if self.broken:
            raise StoreUnavailableError("gone")
        return self.store.tokens()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.at(tmp_path / "machines.db")
    yield store
    store.close()


def test_a_crowd_is_looked_up_once_and_then_compared_all_at_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("kubestead.api.auth.time.monotonic", lambda: now)
    made = [
        store.create_token(f"m{number}", "machine", f"52:54:00:00:00:{number:02x}")
        for number in range(MACHINES)
    ]
    headers = [f"Bearer {secret}".encode() for _record, secret in made]
    counted = Counted(store)
    keeper = Doorkeeper(Token("a-token-that-is-long-enough"), counted)

    async def come() -> list[str]:
        return [caller.name for caller in await asyncio.gather(*map(keeper.identify, headers))]

    async def crowd() -> None:
        nonlocal now
        names = await come()
        assert names == [f"m{number}" for number in range(MACHINES)]
        assert (counted.found, counted.listed) == (MACHINES, 0)
        assert await come() == names
        # The look at the table is late: all have gone stale, and one look serves all.
        now += TRUSTED_SECONDS + 5
        assert keeper.at_once(headers[0]) is None
        assert await come() == names
        assert (counted.found, counted.listed) == (MACHINES, 1)
        # Each is asked for again now and then, for the store to know when it was used; not all at once.
        asked = []
        for _minute in range(3):
            now += 45
            await keeper.look_again()
            before = counted.found
            await come()
            asked.append(counted.found - before)
        assert sum(asked) >= MACHINES
        assert max(asked) < MACHINES

    asyncio.run(crowd())


def test_a_store_that_is_gone_is_told_to_each(store: Store) -> None:
    _record, secret = store.create_token("reader", "read")
    counted = Counted(store)
    counted.broken = True
    keeper = Doorkeeper(Token("a-token-that-is-long-enough"), counted)

    async def crowd() -> None:
        header = f"Bearer {secret}".encode()
        answers = await asyncio.gather(*(keeper.identify(header) for _ in range(5)), return_exceptions=True)
        assert all(isinstance(answer, StoreUnavailableError) for answer in answers)
        counted.broken = False
        assert (await keeper.identify(header)).name == "reader"

    asyncio.run(crowd())
