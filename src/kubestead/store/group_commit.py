# SPDX-License-Identifier: GPL-3.0-or-later
"""Writing for many at once: while one transaction goes to disk the next gathers, and each caller is answered
when its own is there."""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from .records import Datum, MachineRecord, NewDatum, StateReport, TokenRecord
from .store import Store
from .tokens import digest

MOST_AT_ONCE = 500
MOST_DATA_AT_ONCE = 32  # each may be 256 KiB
_Waiting = tuple[StateReport | NewDatum, "asyncio.Future[MachineRecord | Datum]"]


class AsyncStore:
    """The verbs that many call at the same time, for one event loop."""

    def __init__(self, store: Store) -> None:
        """Write to `store`, from one thread."""
        self._store = store
        self._waiting: deque[_Waiting] = deque()
        self._writing: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, "state-store")

    async def record_state(self, report: StateReport) -> MachineRecord:
        """As Store.record_state."""
        return cast(MachineRecord, await self._put(report))

    async def put_datum(self, mac: str, key: str, value: Any) -> Datum:
        """As Store.put_datum."""
        return cast(Datum, await self._put(NewDatum(mac, key, value)))

    async def find_token(self, secret: str) -> TokenRecord | None:
        """As Store.find_token, without a thread for a token that was found a moment ago."""
        if self._store.remembered_token(digest(secret)) is not None:
            return self._store.find_token(secret)
        return await asyncio.to_thread(self._store.find_token, secret)

    async def close(self) -> None:
        """Wait until all that was asked for is answered; the store stays open."""
        while self._writing is not None:
            await asyncio.wait([self._writing])
        self._thread.shutdown()

    async def _put(self, operation: StateReport | NewDatum) -> MachineRecord | Datum:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[MachineRecord | Datum] = loop.create_future()
        self._waiting.append((operation, answer))
        if self._writing is None:
            self._writing = loop.create_task(self._write_all())
        return await answer

    def _next_batch(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        data = 0
        while self._waiting and len(batch) < MOST_AT_ONCE and data < MOST_DATA_AT_ONCE:
            batch.append(self._waiting.popleft())
            data += isinstance(batch[-1][0], NewDatum)
        return batch

    async def _write_all(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                batch = self._next_batch()
                operations = [operation for operation, _answer in batch]
                try:
                    results = await loop.run_in_executor(self._thread, self._store.write, operations)
                except Exception as error:  # whatever it is, nobody may wait for ever
                    results = [error] * len(batch)
                for (_operation, answer), result in zip(batch, results, strict=True):
                    _resolve(answer, result)
        finally:
            self._writing = None


def _resolve(
    answer: asyncio.Future[MachineRecord | Datum], result: MachineRecord | Datum | Exception
) -> None:
    if answer.done():  # its caller has gone
        return
    if isinstance(result, Exception):
        answer.set_exception(result)
    else:
        answer.set_result(result)
