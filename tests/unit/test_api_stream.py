# SPDX-License-Identifier: GPL-3.0-or-later
"""The event stream: what a viewer sees, in which order, and what one that is slow or unwelcome gets."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.types import Message

from kubestead.api.app import create_app
from kubestead.api.stream import LONGEST_GATHER, SHORTEST_GATHER, gather_seconds
from kubestead.model.atomic import write_atomically
from kubestead.store import StateReport, Store, StoreUnavailableError
from tests.unit.api_sample import BEARER, CP, REGISTRY, WORKER, Files

OTHER = "52:54:00:77:00:99"


@dataclass
class Watcher:
    """A client of the stream, in this process."""

    task: asyncio.Task[None]
    left: asyncio.Event
    starts: list[Message] = field(default_factory=list)
    chunks: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)

    async def frame(self) -> tuple[str, int, Any]:
        """The next frame: its kind, id and data."""
        chunk = await asyncio.wait_for(self.chunks.get(), 10)
        kind, number, data = chunk.decode().rstrip("\n").split("\n")
        return (
            kind.removeprefix("event: "),
            int(number.removeprefix("id: ")),
            json.loads(data.removeprefix("data: ")),
        )

    async def ended(self) -> None:
        """Wait for its end."""
        await asyncio.wait_for(asyncio.shield(self.task), 10)


def watch(
    app: FastAPI,
    query: str = "",
    *,
    token: str = BEARER,
    last_id: int | None = None,
    reading: Callable[[], Awaitable[Any]] | None = None,
    encoding: str = "",
) -> Watcher:
    """Open a stream; `reading` is awaited before each chunk is taken."""
    headers = [(b"authorization", f"Bearer {token}".encode())]
    if encoding:
        headers.append((b"accept-encoding", encoding.encode()))
    if last_id is not None:
        headers.append((b"last-event-id", str(last_id).encode()))
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/api/stream",
        "raw_path": b"/api/stream",
        "root_path": "",
        "query_string": query.encode(),
        "headers": headers,
        "client": ("10.0.0.9", 1),
        "server": ("test", 80),
        "http_version": "1.1",
        "scheme": "http",
    }
    left = asyncio.Event()
    asked = False

    async def receive() -> Message:
        nonlocal asked
        if not asked:
            asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            watcher.starts.append(message)
            return
        if reading is not None:
            await reading()
        if message.get("body"):
            await watcher.chunks.put(message["body"])

    watcher = Watcher(asyncio.create_task(app(scope, receive, send)), left)
    return watcher


@asynccontextmanager
async def serving(files: Files, **settings: Any) -> AsyncIterator[FastAPI]:
    app = create_app(files.settings(**settings))
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files.make(tmp_path)


async def report(app: FastAPI, mac: str, state: str, **more: Any) -> None:
    """A report as the API takes it: written, and the stream woken."""
    await asyncio.to_thread(app.state.store.record_state, StateReport(mac, state, initial="approved", **more))
    app.state.stream.wake()


def edit(files: Files, text: str) -> None:
    """Save the registry as editors do, in one step."""
    write_atomically(files.registry, text)


def test_a_viewer_sees_all_and_then_what_changes(files: Files) -> None:
    async def follow() -> None:
        async with serving(files) as app:
            await report(app, CP, "provisioning", message="before")
            watcher = watch(app)
            kind, number, data = await watcher.frame()
            assert (kind, number) == ("snapshot", 1)
            assert list(data["machines"]) == [CP, WORKER]
            assert data["machines"][CP]["message"] == "before"
            assert data["registry"]["condition"] == "ok"
            headers = dict(watcher.starts[0]["headers"])
            assert headers[b"content-type"].startswith(b"text/event-stream")
            assert headers[b"cache-control"] == b"no-store"
            assert b"content-length" not in headers

            await report(app, CP, "ready", features={"gpu": "ready"})
            kind, number, data = await watcher.frame()
            assert (kind, number) == ("change", 2)
            assert list(data) == ["machines", "events"]
            assert list(data["machines"]) == [CP]
            assert data["machines"][CP]["state"] == "ready"
            assert [(event["id"], event["previous_state"]) for event in data["events"]] == [
                (2, "provisioning")
            ]

            # What changes no machine is told as well.
            app.state.store.note("registry", "a remark", actor="me")
            app.state.stream.wake()
            _kind, number, data = await watcher.frame()
            assert (number, data["machines"], data["events"][0]["message"]) == (3, {}, "a remark")
            assert app.state.stream.viewers == 1
            watcher.left.set()
            await watcher.ended()
            assert app.state.stream.viewers == 0

    asyncio.run(follow())


def test_what_happens_within_a_moment_comes_together(files: Files) -> None:
    async def follow() -> None:
        async with serving(files) as app:
            watcher = watch(app)
            await watcher.frame()
            store = app.state.store
            for progress in range(50):
                store.record_state(StateReport(CP, "provisioning", progress=progress, initial="approved"))
            store.record_state(StateReport(CP, "ready"))
            app.state.stream.wake()
            _kind, number, data = await watcher.frame()
            assert number == 51
            assert data["machines"][CP]["state"] == "ready"
            told = [(event["id"], event["kind"]) for event in data["events"]]
            assert told == [(1, "transition"), (50, "report"), (51, "transition")]

    asyncio.run(follow())


def test_a_viewer_of_one_machine_sees_no_other(files: Files) -> None:
    async def follow() -> None:
        async with serving(files) as app:
            watcher = watch(app, f"mac={WORKER.upper()}&mac={OTHER}")
            _kind, _number, data = await watcher.frame()
            assert list(data["machines"]) == [WORKER]
            everything = watch(app)
            await everything.frame()
            await report(app, CP, "provisioning")
            await everything.frame()
            await report(app, OTHER, "approved")
            _kind, number, data = await watcher.frame()
            assert (number, list(data["machines"])) == (2, [OTHER])
            assert [event["mac"] for event in data["events"]] == [OTHER]

    asyncio.run(follow())


def test_a_machine_follows_itself(files: Files) -> None:
    async def follow() -> None:
        async with serving(files) as app:
            record, secret = app.state.store.create_token("m", "machine", mac=CP)
            for query in ("", f"mac={CP}"):
                watcher = watch(app, query, token=secret)
                assert list((await watcher.frame())[2]["machines"]) == [CP]
            refused = watch(app, f"mac={CP}&mac={WORKER}", token=secret)
            await refused.ended()
            assert refused.starts[0]["status"] == 403
            # Its stream ends with its token.
            app.state.store.revoke_token(record.id)
            app.state.doorkeeper.forget()
            app.state.stream.wake()
            await watcher.ended()

    asyncio.run(follow())


def test_who_comes_back_is_told_what_was_missed(files: Files) -> None:
    async def follow() -> None:
        async with serving(files) as app:
            for progress in range(5):
                await report(app, CP, "provisioning", progress=progress)
            await report(app, WORKER, "installed")
            watcher = watch(app, last_id=3)
            assert (await watcher.frame())[:2] == ("snapshot", 6)
            kind, number, data = await watcher.frame()
            assert (kind, number, data["machines"]) == ("change", 6, {})
            assert [event["id"] for event in data["events"]] == [5, 6]
            mine = watch(app, f"mac={WORKER}", last_id=0)
            await mine.frame()
            assert [event["id"] for event in (await mine.frame())[2]["events"]] == [6]
            # Nothing was missed, or the store is another than it was: no frame without content.
            for last_id in (6, 4000):
                quiet = watch(app, last_id=last_id)
                await quiet.frame()
                await report(app, CP, "provisioning", message="next")
                assert (await quiet.frame())[2]["events"][0]["message"] == "next"

    asyncio.run(follow())


@pytest.mark.parametrize("encoding", ["gzip", "br, GZIP;q=0.5"])
def test_a_stream_is_packed_for_who_takes_it(files: Files, encoding: str) -> None:
    async def follow() -> None:
        async with serving(files) as app:
            plain, packed = watch(app, encoding="gzip;q=0, br"), watch(app, encoding=encoding)
            unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)

            async def unpacked() -> bytes:
                return unpacker.decompress(await asyncio.wait_for(packed.chunks.get(), 10))

            assert await unpacked() == b"", "the beginning"
            for progress in range(3):
                assert await unpacked() == await plain.chunks.get(), (
                    "each frame is whole as soon as it is there"
                )
                await report(app, CP, "provisioning", progress=progress, message="x" * 2000)
            kinds = [
                dict(watcher.starts[0]["headers"]).get(b"content-encoding") for watcher in (plain, packed)
            ]
            assert kinds == [None, b"gzip"]
            # One who comes later receives the same pieces behind others.
            late = watch(app, encoding=encoding)
            pieces = [await asyncio.wait_for(late.chunks.get(), 10) for _ in range(2)]
            await report(app, CP, "ready")
            pieces.append(await asyncio.wait_for(late.chunks.get(), 10))
            text = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(b"".join(pieces)).decode()
            assert [line for line in text.splitlines() if line.startswith("event:")] == [
                "event: snapshot",
                "event: change",
            ]

    asyncio.run(follow())


def test_changes_of_the_registry_are_seen(files: Files) -> None:
    async def follow() -> None:
        async with serving(files, registry_poll_seconds=0.02) as app:
            watcher = watch(app)
            await watcher.frame()
            edit(files, json.dumps({**REGISTRY, WORKER: {**REGISTRY[WORKER], "ip": "10.77.0.21"}}))
            kind, _number, data = await watcher.frame()
            assert (kind, data["machines"][WORKER]["ip"]) == ("change", "10.77.0.21")
            assert "registry" not in data, "its condition is what it was"
            edit(files, "{")
            while "registry" not in data:
                kind, _number, data = await watcher.frame()
            assert (kind, data["machines"], data["registry"]["condition"]) == ("change", {}, "invalid")
            assert data["registry"]["problems"]
            # Other machines are told as a whole: which have gone cannot be said by a change.
            edit(files, json.dumps({CP: REGISTRY[CP]}))
            while kind != "snapshot":
                kind, _number, data = await watcher.frame()
            assert list(data["machines"]) == [CP]
            assert data["registry"]["condition"] == "ok"

    asyncio.run(follow())


def test_a_slow_viewer_is_given_a_fresh_picture(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubestead.api.stream.SHORTEST_GATHER", 0.0)

    async def follow() -> None:
        async with serving(files) as app:
            awake = asyncio.Event()
            slow, quick = watch(app, reading=awake.wait), watch(app)
            await quick.frame()
            for progress in range(30):
                await report(app, CP, "provisioning", progress=progress)
                assert (await quick.frame())[2]["machines"][CP]["progress"] == progress
            awake.set()
            frames = [await slow.frame()]
            while frames[-1][2]["machines"][CP]["progress"] != 29:
                frames.append(await slow.frame())
            kinds = [kind for kind, _number, _data in frames]
            assert len(kinds) <= 10, "no queue without an end"
            assert kinds[1] == "snapshot", "in the place of what it has missed"

    asyncio.run(follow())


def test_streams_end_when_the_program_does(files: Files) -> None:
    async def follow() -> None:
        async with serving(files) as app:
            watchers = [watch(app) for _ in range(5)]
            for watcher in watchers:
                await watcher.frame()
        for watcher in watchers:
            await watcher.ended()
        late = watch(app)
        await late.ended()

    asyncio.run(follow())


def test_a_stream_is_kept_open_by_comments(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubestead.api.stream.COMMENT_SECONDS", 0.0)
    monkeypatch.setattr("kubestead.api.stream._LOOK_SECONDS", 0.01)

    async def follow() -> None:
        async with serving(files) as app:
            watcher = watch(app)
            await watcher.frame()
            assert await asyncio.wait_for(watcher.chunks.get(), 10) == b": still here\n\n"

    asyncio.run(follow())


def test_another_process_writes(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubestead.api.stream._LOOK_SECONDS", 0.02)

    async def follow() -> None:
        other = Store.at(files.database)
        async with serving(files) as app:
            watcher = watch(app)
            await watcher.frame()
            await asyncio.to_thread(other.record_state, StateReport(CP, "installed", initial="approved"))
            assert (await watcher.frame())[2]["machines"][CP]["state"] == "installed"
        other.close()

    asyncio.run(follow())


def test_a_store_that_is_gone_for_a_while(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubestead.api.stream._LOOK_SECONDS", 0.02)

    async def follow() -> None:
        async with serving(files) as app:
            watcher = watch(app)
            await watcher.frame()
            asked = asyncio.Event()
            loop = asyncio.get_running_loop()

            def gone(_store: Store, _after: int) -> Any:
                loop.call_soon_threadsafe(asked.set)
                raise StoreUnavailableError("gone")

            with monkeypatch.context() as patch:
                patch.setattr(Store, "changes", gone)
                await report(app, CP, "installed")
                await asyncio.wait_for(asked.wait(), 10)
            assert (await watcher.frame())[2]["machines"][CP]["state"] == "installed"

    asyncio.run(follow())


def test_nothing_is_read_while_nobody_looks(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubestead.api.stream._LOOK_SECONDS", 0.01)

    async def follow() -> None:
        async with serving(files) as app:
            with monkeypatch.context() as patch:
                patch.setattr(Store, "changes", lambda _store, _after: 1 / 0)
                for _ in range(10):
                    await report(app, CP, "provisioning")
                    await asyncio.sleep(0)
            watcher = watch(app)
            assert (await watcher.frame())[1] == 10

    asyncio.run(follow())


def test_many_viewers_are_told_less_often() -> None:
    assert gather_seconds(1) == gather_seconds(100) == SHORTEST_GATHER
    assert SHORTEST_GATHER < gather_seconds(400) < gather_seconds(800) < LONGEST_GATHER
    assert gather_seconds(1000) == gather_seconds(5000) == LONGEST_GATHER
