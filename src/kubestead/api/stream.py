# SPDX-License-Identifier: GPL-3.0-or-later
"""The event stream: one look at the store for all viewers, each frame made once, no queue without an end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from kubestead.store import Event, MachineRecord, Store, StoreUnavailableError

from .auth import Caller, Doorkeeper
from .frames import COMMENT, GZIP_BEGINNING, Frame, takes_gzip
from .live_registry import LiveRegistry
from .picture import Macs, Picture

log = logging.getLogger(__name__)

SHORTEST_GATHER = 0.25
LONGEST_GATHER = 2.0
COMMENT_SECONDS = 15.0
_GATHER_PER_VIEWER = 0.002
_LOOK_SECONDS = 1.0  # other processes' writes on the same database wake nobody here
_WAITING_FRAMES = 8  # before a viewer is given a fresh snapshot instead
_MOST_EVENTS = 20_000  # read at one look
_SINCE = 1000  # events given to a viewer that comes back
_AT_ONCE = 25


class Viewer:
    """One open stream: what waits to be sent on it."""

    def __init__(self, caller: Caller, macs: Macs) -> None:
        """Follow `macs`."""
        self.caller = caller
        self.macs = macs
        self.frames: deque[Frame] = deque()
        self.ended = False
        self.wake = asyncio.Event()

    def offer(self, frame: Frame) -> bool:
        """Let a frame wait to be sent; False where too many wait already."""
        if len(self.frames) >= _WAITING_FRAMES:
            return False
        self.frames.append(frame)
        return True

    def end(self) -> None:
        """Send nothing more."""
        self.ended = True
        self.wake.set()


class Broadcaster:
    """Keeps a picture of all machines while anybody looks, and tells every viewer what changes in it."""

    def __init__(self, store: Store, registry: LiveRegistry, doorkeeper: Doorkeeper) -> None:
        """Look at `store` and `registry`."""
        self._store = store
        self._registry = registry
        self._doorkeeper = doorkeeper
        self._viewers: set[Viewer] = set()
        self._picture: Picture | None = None  # None while nobody looks
        self._drawing = asyncio.Lock()
        self._since: dict[int, list[Event]] = {}
        self._woken = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped = False
        self.lag = 0.0  # between the newest event and its being told, at the last frame

    @property
    def viewers(self) -> int:
        """How many look on."""
        return len(self._viewers)

    def wake(self) -> None:
        """Look at once: something was written here."""
        if self._viewers:
            self._woken.set()

    def wake_from_thread(self) -> None:
        """The same, for handlers that run in threads."""
        if self._viewers and self._loop is not None:
            self._loop.call_soon_threadsafe(self._woken.set)

    def stop(self) -> None:
        """End all streams; none begins any more."""
        self._stopped = True
        for viewer in self._viewers:
            viewer.end()

    async def join(self, caller: Caller, macs: Macs, last_id: int | None) -> Viewer:
        """Let somebody look on, from a snapshot and, for who comes back, the events since `last_id`."""
        viewer = Viewer(caller, macs)
        async with self._drawing:
            picture = self._picture = self._picture or await self._draw()
            viewer.offer(picture.snapshot(macs))
            since = [] if last_id is None else await self._events_since(last_id, picture.position)
            if missed := picture.change(macs, (), since):
                viewer.offer(missed)
            self._viewers.add(viewer)
        if self._stopped:
            viewer.end()
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """Somebody has gone."""
        self._viewers.discard(viewer)

    async def run(self) -> None:
        """Tell the viewers what changes, for ever."""
        self._loop = asyncio.get_running_loop()
        commented = time.monotonic()
        while True:
            await self._until_woken()
            started = time.monotonic()
            told = False
            async with self._drawing:
                try:
                    told = await self._tell()
                except StoreUnavailableError as error:
                    log.warning("the event stream has to wait: %s", error)
            self._show_out()
            if started - commented >= COMMENT_SECONDS:
                commented = started
                await self._offer(lambda viewer: not viewer.frames and viewer.offer(COMMENT))
            if told:
                await asyncio.sleep(gather_seconds(len(self._viewers)) - (time.monotonic() - started))

    async def _until_woken(self) -> None:
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                await self._woken.wait()
        except TimeoutError:
            pass
        self._woken.clear()

    async def _draw(self) -> Picture:
        """The picture now; the events first, then the machines, so that no change falls between them."""
        position = await asyncio.to_thread(self._store.last_event_id)
        records = await asyncio.to_thread(self._store.machines)
        await asyncio.to_thread(self._registry.refresh)
        self._since.clear()
        return Picture(position, records, self._registry.content)

    async def _events_since(self, last_id: int, position: int) -> list[Event]:
        if last_id not in self._since:
            events = await asyncio.to_thread(self._store.events, last_id, None, _SINCE)
            self._since[last_id] = [event for event in events if event.id <= position]
        return self._since[last_id]

    async def _tell(self) -> bool:
        """Tell what has changed since the last time; False if nothing has."""
        if not self._viewers:
            self._picture = None
        picture = self._picture
        if picture is None:
            return False
        events, position, records = await asyncio.to_thread(self._read, picture.position)
        before, content = picture.content, self._registry.content
        if not events and content is before:
            return False
        self._since.clear()
        changed = picture.update(position, records, content)
        if changed is None:
            await self._offer(self._offer_snapshot)
            return True
        summary = content.summary()
        registry = summary if summary != before.summary() else None
        if events:
            self.lag = max(0.0, time.time() - events[-1].at.timestamp())
        for_all = picture.change(None, changed, events, registry)

        def offer(viewer: Viewer) -> bool:
            some = viewer.macs is not None
            frame = picture.change(viewer.macs, changed, events, registry) if some else for_all
            return frame is not None and (viewer.offer(frame) or self._offer_snapshot(viewer))

        await self._offer(offer)
        return True

    def _read(self, after: int) -> tuple[list[Event], int, dict[str, MachineRecord]]:
        events, position = self._store.changes(after)
        while position != after and len(events) < _MOST_EVENTS:
            more, position = self._store.changes(after := position)
            events += more
        macs = {event.mac for event in events if event.mac is not None}
        if len(macs) > _AT_ONCE:
            records = self._store.machines()
            return events, position, {mac: records[mac] for mac in macs if mac in records}
        found = {mac: self._store.machine(mac) for mac in macs}
        return events, position, {mac: record for mac, record in found.items() if record is not None}

    def _offer_snapshot(self, viewer: Viewer) -> bool:
        viewer.frames.clear()
        return self._picture is not None and viewer.offer(self._picture.snapshot(viewer.macs))

    async def _offer(self, offer: Callable[[Viewer], Any]) -> None:
        # A thousand viewers woken in one go would keep the writers waiting.
        for number, viewer in enumerate(tuple(self._viewers), 1):
            if offer(viewer):
                viewer.wake.set()
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)

    def _show_out(self) -> None:
        for viewer in self._viewers:
            if not self._doorkeeper.still_valid(viewer.caller):
                viewer.end()


class Stream(Response):
    """The answer that sends a viewer's frames until one side goes."""

    media_type = "text/event-stream"

    def __init__(self, broadcaster: Broadcaster, viewer: Viewer, accepted: str = "") -> None:
        """Answer `viewer`, whose client reads the encodings `accepted`."""
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._broadcaster = broadcaster
        self._viewer = viewer
        self._packed = takes_gzip(accepted)
        if self._packed:
            self.headers["Content-Encoding"] = "gzip"

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Send frames until the client has gone, the token is no good any more, or the program stops."""
        viewer = self._viewer
        watching = asyncio.create_task(_until_gone(receive, viewer))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            if self._packed:
                await send({"type": "http.response.body", "body": GZIP_BEGINNING, "more_body": True})
            while not viewer.ended:
                if viewer.frames:
                    frame = viewer.frames.popleft()
                    body = frame.packed if self._packed else frame.plain
                    await send({"type": "http.response.body", "body": body, "more_body": True})
                else:
                    viewer.wake.clear()
                    await viewer.wake.wait()
            await send({"type": "http.response.body", "body": b""})
        finally:
            self._broadcaster.leave(viewer)
            watching.cancel()


def gather_seconds(viewers: int) -> float:
    """How long changes are gathered before they are told: the longer, the more there are to tell."""
    return min(LONGEST_GATHER, max(SHORTEST_GATHER, _GATHER_PER_VIEWER * viewers))


async def _until_gone(receive: Receive, viewer: Viewer) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    viewer.end()
