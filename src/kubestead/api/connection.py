# SPDX-License-Identifier: GPL-3.0-or-later
"""One HTTP connection: uvicorn's parser, with limits to what a client may send and to how long it takes."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from .logs import new_correlation_id
from .settings import HEADER_LIMIT

log = logging.getLogger(__name__)

ENDLESS = "kubestead.endless"  # the ASGI extension by which an answer says that it has no end
_LINGER_SECONDS = 2.0


@dataclass(frozen=True)
class Patience:
    """How long a client may take, in seconds."""

    headers: float = 10.0  # from the connection, or from a request's first byte, to the end of its headers
    body: float = 60.0  # from there to the end of its body
    idle: float = 75.0  # between two requests
    reading: float = 60.0  # without taking any of an answer that waits for it


class _Phase(Enum):
    HEADERS = auto()
    BODY = auto()
    ANSWERING = auto()
    IDLE = auto()
    REFUSED = auto()


class Connection(HttpToolsProtocol):
    """A connection that is closed when its client dawdles, and that refuses headers without end.

    The times are looked at by `sweep`, which the server calls every second: a timer for each request would
    cost more than the request's parsing.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        *,
        patience: Patience | None = None,
        header_limit: int = HEADER_LIMIT,
        on_lost: Callable[[], None] | None = None,
    ) -> None:
        """Serve `config`'s application; `on_lost` is called once when the connection has ended."""
        super().__init__(config, server_state, app_state)
        self._patience = patience or Patience()
        self._header_limit = header_limit
        self._on_lost = on_lost
        self._phase = _Phase.HEADERS
        self._since = self.loop.time()
        self._unfinished_bytes = 0  # of headers that have begun in an earlier piece than this one
        self._piece_bytes = 0
        self._too_long = False
        self._endless = False
        self._stuck_since: float | None = None

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast("asyncio.Transport", transport))
        if self.client and self.client[0].startswith("::ffff:"):
            self.client = (self.client[0][7:], self.client[1])

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._on_lost:
            self._on_lost()
            self._on_lost = None

    def data_received(self, data: bytes) -> None:
        if self._phase is _Phase.REFUSED:
            return
        unfinished, self._piece_bytes = self._phase is _Phase.HEADERS, len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # An upgrade is an offer; we answer in HTTP/1.1, and what follows would not be HTTP any more.
            if self.cycle:
                self.cycle.keep_alive = False
        except httptools.HttpParserError:
            if self._too_long:
                self._refuse_headers()
            else:
                self._refuse(400, "this is no HTTP request that can be read")
        else:
            if unfinished and self._phase is _Phase.HEADERS:
                self._unfinished_bytes += len(data)
                if self._unfinished_bytes > self._header_limit:
                    self._refuse_headers()

    def eof_received(self) -> None:
        if self._phase is _Phase.REFUSED:
            self.transport.close()

    def pause_writing(self) -> None:
        self._stuck_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._stuck_since = None
        super().resume_writing()

    # What the parser calls

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {ENDLESS: {"tell": self._has_no_end}}
        self._unfinished_bytes = 0
        self._enter(_Phase.HEADERS)

    def on_headers_complete(self) -> None:
        # Counting costs something, and most requests come in one piece that is shorter than the limit.
        if self._unfinished_bytes + self._piece_bytes > self._header_limit:
            self._count()
        super().on_headers_complete()
        self._enter(_Phase.BODY)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        complete = self.cycle is None or self.cycle.response_complete
        self._enter(_Phase.IDLE if complete else _Phase.ANSWERING)

    # What the server and the answers call

    def on_response_complete(self) -> None:
        """Begin the next request that waits, if any."""
        self.server_state.total_requests += 1
        self._endless = False
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        elif self._phase is _Phase.ANSWERING:
            self._enter(_Phase.IDLE)

    def sweep(self, now: float) -> None:
        """Close the connection if its client has taken too long."""
        if self._stuck_since is not None and now - self._stuck_since > self._patience.reading:
            self.transport.abort()  # what is written already would never leave
            return
        limit = {
            _Phase.HEADERS: self._patience.headers,
            _Phase.BODY: self._patience.body,
            _Phase.IDLE: self._patience.idle,
            _Phase.REFUSED: _LINGER_SECONDS,
        }.get(self._phase)
        if limit is not None and now - self._since > limit:
            self.transport.abort() if self._phase is _Phase.REFUSED else self.transport.close()

    def shutdown(self) -> None:
        """End after the request that is being answered; a stream that has no end of its own ends now."""
        if self._endless and self.cycle and not self.cycle.response_complete:
            if self.cycle.chunked_encoding:
                self.transport.write(b"0\r\n\r\n")
            self.transport.close()
            return
        super().shutdown()

    def _has_no_end(self) -> None:
        self._endless = True

    def _enter(self, phase: _Phase) -> None:
        if self._phase is not _Phase.REFUSED:
            self._phase, self._since = phase, self.loop.time()

    def _count(self) -> None:
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self._header_limit:
            self._too_long = True
            raise ValueError("the headers are too long")  # the parser stops, and tells data_received

    def _refuse_headers(self) -> None:
        self._refuse(431, f"the request's headers are too long: at most {self._header_limit} bytes")

    def _refuse(self, status: int, detail: str) -> None:
        """Answer without the application, then let the client read that before the connection ends."""
        within_body, self._phase, self._since = self._phase is _Phase.BODY, _Phase.REFUSED, self.loop.time()
        if self.cycle and not self.cycle.response_complete:
            if not within_body or self.pipeline or self.cycle.response_started:
                self.cycle.keep_alive = False  # an answer is on its way; it is the last one
                return
            self.cycle.disconnected = True  # whoever waits for the rest of the body need not wait any more
            self.cycle.message_event.set()
        body = json.dumps({"detail": detail}).encode()
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"x-correlation-id", new_correlation_id().encode()),
            (b"connection", b"close"),
        ]
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        self.transport.write(STATUS_LINE[status] + lines + b"\r\n" + body)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        log.warning("refused a request: %s", detail, extra={"client": self.client and self.client[0]})
