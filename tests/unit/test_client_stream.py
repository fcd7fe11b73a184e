# SPDX-License-Identifier: GPL-3.0-or-later
"""The client's event stream: its parser with any pieces, and real sockets that break, stall and refuse."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubestead.model import sse, state_api_http
from kubestead.model.sse import Frame, FrameParser
from kubestead.model.state_api_client import (
    StateApiClient,
    StateApiRefusedError,
    StateApiUnreachableError,
    StreamEvent,
)

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n"
SNAPSHOT = b'event: snapshot\nid: 7\ndata: {"machines": {}}\n\n'
TEXT = (
    ": hello\n\n"
    'event: snapshot\nid: 7\ndata: {"a":\ndata: 1}\n\n'
    "data:no space\r\n\r\n"
    "id: 8\nretry: 10\nunknown\n\n"
    "event: change\ndata: „ä€😀“\n\n"
)
FRAMES = [
    Frame("snapshot", "7", '{"a":\n1}'),
    Frame("message", "7", "no space"),
    Frame("change", "8", "„ä€😀“"),
]


@given(st.lists(st.integers(0, len(TEXT.encode())), max_size=20))
def test_frames_do_not_depend_on_the_pieces(cuts: list[int]) -> None:
    data = TEXT.encode()
    parser = FrameParser()
    edges = [0, *sorted(cuts), len(data)]
    frames: list[Frame] = []
    for start, end in zip(edges, edges[1:], strict=False):
        frames += parser.feed(data[start:end])
    assert frames == FRAMES


@given(st.lists(st.binary(max_size=50), max_size=20))
def test_any_bytes_are_borne(pieces: list[bytes]) -> None:
    parser = FrameParser()
    for piece in pieces:
        for frame in parser.feed(piece):
            assert isinstance(frame.data, str)


@contextmanager
def serving(*turns: Callable[[socket.socket], None]) -> Iterator[tuple[str, list[str]]]:
    """A server that handles one connection after the other by `turns`; gives its URL and the requests."""
    requests: list[str] = []

    def serve() -> None:
        for turn in turns:
            try:
                connection, _address = listener.accept()
            except OSError:
                return  # the test is over
            with connection:
                requests.append(connection.recv(65536).decode())
                turn(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", requests
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)
    assert not thread.is_alive()


def wait_for_the_end(connection: socket.socket) -> None:
    """Until the other side hangs up."""
    connection.settimeout(10)
    while connection.recv(1024):
        pass


def test_a_stream_and_its_break() -> None:
    def turn(connection: socket.socket) -> None:
        connection.sendall(HEAD + SNAPSHOT[:10])
        connection.sendall(SNAPSHOT[10:] + b": still here\n\n")
        connection.sendall(b'event: change\nid: 9\ndata: {"machines": {"a": 1}}\n\nevent: chan')

    with serving(turn) as (url, requests):
        stream = StateApiClient(url, "the-token").stream(["aa:bb", "cc"], last_id=3)
        assert next(stream) == StreamEvent("snapshot", 7, {"machines": {}})
        assert next(stream) == StreamEvent("change", 9, {"machines": {"a": 1}})
        with pytest.raises(StateApiUnreachableError, match="the stream was closed"):
            next(stream)
    assert requests[0].startswith("GET /api/stream?mac=aa%3Abb&mac=cc HTTP/1.1")
    assert "Last-Event-ID: 3\r\n" in requests[0]
    assert "Authorization: Bearer the-token\r\n" in requests[0]


def test_chunks() -> None:
    def turn(connection: socket.socket) -> None:
        connection.sendall(HEAD[:-2] + b"Transfer-Encoding: chunked\r\n\r\n")
        for start in range(0, len(SNAPSHOT), 5):
            piece = SNAPSHOT[start : start + 5]
            connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        connection.sendall(b"0\r\n\r\n")

    with serving(turn) as (url, _), StateApiClient(url).stream() as stream:
        assert next(stream).data == {"machines": {}}
        with pytest.raises(StateApiUnreachableError, match="the stream was closed"):
            next(stream)


def test_it_ends_at_the_deadline_though_nothing_comes() -> None:
    def turn(connection: socket.socket) -> None:
        connection.sendall(HEAD + SNAPSHOT)
        wait_for_the_end(connection)

    started = time.monotonic()
    with serving(turn) as (url, _):
        events = list(StateApiClient(url).stream(deadline=started + 0.3))
    assert [event.event for event in events] == ["snapshot"]
    assert 0.3 <= time.monotonic() - started < 3


def test_silence_is_a_break(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_api_http, "STREAM_SILENCE", 0.2)

    def turn(connection: socket.socket) -> None:
        connection.sendall(HEAD)
        wait_for_the_end(connection)

    with serving(turn) as (url, _), pytest.raises(StateApiUnreachableError, match="no answer in time"):
        next(StateApiClient(url).stream())


def test_another_thread_may_end_it() -> None:
    def turn(connection: socket.socket) -> None:
        connection.sendall(HEAD + SNAPSHOT)
        wait_for_the_end(connection)

    with serving(turn) as (url, _):
        stream = StateApiClient(url).stream()
        next(stream)
        threading.Timer(0.1, stream.close).start()
        with pytest.raises(StateApiUnreachableError):
            next(stream)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            b'HTTP/1.1 403 Forbidden\r\nContent-Length: 23\r\n\r\n{"detail": "not yours"}',
            "403 Forbidden: not yours",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "no event stream but text/plain"),
        (HEAD + b"data: welcome\n\n", "an event that is no JSON"),
    ],
)
def test_what_is_no_stream(answer: bytes, message: str) -> None:
    with (
        serving(lambda connection: connection.sendall(answer)) as (url, _),
        pytest.raises(StateApiRefusedError, match=message),
    ):
        next(StateApiClient(url).stream())


@pytest.mark.parametrize("piece", [b"data: x\n", b"x" * 9])
def test_an_endless_event(monkeypatch: pytest.MonkeyPatch, piece: bytes) -> None:
    monkeypatch.setattr(sse, "_FRAME_LIMIT", 80)
    parser = FrameParser()
    for _ in range(8):
        parser.feed(piece)
    with pytest.raises(ValueError, match="too long"):
        [parser.feed(piece) for _ in range(3)]
