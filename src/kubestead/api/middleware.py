# SPDX-License-Identifier: GPL-3.0-or-later
"""What every request passes: a correlation id, a limit for its body, a line in the log, no traceback."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .connection import ENDLESS
from .errors import problem
from .logs import RequestContext, Sparing, new_correlation_id, request_context

log = logging.getLogger(__name__)
CORRELATION_HEADER = "X-Correlation-ID"
_CORRELATION_BYTES = CORRELATION_HEADER.lower().encode()
_CORRELATION_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_QUIET = {"/healthz", "/metrics"}  # asked every few seconds by whoever waits or watches
_EVENT_STREAM = b"text/event-stream"


class RequestLog:
    """Gives each request its correlation id (the caller's or a new one), logs it, answers faults.

    While they are few, all requests are logged. Of thousands a second a share is, and how many were not;
    what failed for a reason of ours always is.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Wrap `app`."""
        self._app = app
        self._sparing = {level: Sparing() for level in (logging.INFO, logging.WARNING)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        context = RequestContext(_given_id(scope) or new_correlation_id())
        correlation = (_CORRELATION_BYTES, context.correlation_id.encode())
        token = request_context.set(context)
        started, status = time.perf_counter(), 0

        async def send_and_see(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message["headers"] = [*message.get("headers", ()), correlation]
                if any(value.startswith(_EVENT_STREAM) for name, value in headers if name == b"content-type"):
                    _tell_endless(scope)
            await send(message)

        try:
            await self._app(scope, receive, send_and_see)
        except Exception:
            log.exception("this request ran into a fault of the program")
            if not status:
                detail = (
                    "the State API ran into a fault of its own; the log has it under correlation id "
                    f"{context.correlation_id}: journalctl -u machine-state-api"
                )
                await problem(500, detail)(scope, receive, send_and_see)
        finally:
            self._log(scope, status, started)
            request_context.reset(token)

    def _log(self, scope: Scope, status: int, started: float) -> None:
        level = _level(scope["path"], status)
        if not log.isEnabledFor(level):
            return
        if (sparing := self._sparing.get(level)) is not None:
            if not sparing.worth_a_line():
                return
            if left_out := sparing.take_left_out():
                log.log(level, "%d more requests were answered that have no line here", left_out)
        client = scope.get("client")
        log.log(
            level,
            "%s %s: %s",
            scope["method"],
            scope["path"],
            status or "no answer",
            extra={
                "method": scope["method"],
                "path": scope["path"],
                "status": status,
                "milliseconds": round((time.perf_counter() - started) * 1000, 1),
                "client": client[0] if client else None,
            },
        )


class BodyLimit:
    """Reads the whole body before the application sees it, and refuses one that is too long or no JSON."""

    def __init__(self, app: ASGIApp, limit: Callable[[Scope], int]) -> None:
        """Wrap `app`; `limit` says how many bytes a request may bring."""
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced, kind = b"0", b""
        for name, value in scope["headers"]:
            if name == b"content-length":
                announced = value
            elif name == b"content-type":
                kind = value.partition(b";")[0].strip().lower()
        limit = self._limit(scope)
        too_long = announced.isdigit() and int(announced) > limit
        body = b""
        parts: list[bytes] = []
        length = 0
        more = not too_long
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body = message.get("body", b"")
            parts.append(body)
            length += len(body)
            more = message.get("more_body", False)
            if length > limit:
                too_long, more = True, False
        if too_long:
            # What is still to come is read and forgotten by the connection, so that the client sees this.
            await problem(413, f"the body is too long: at most {limit} bytes")(scope, receive, send)
            return
        if len(parts) > 1:
            body = b"".join(parts)
        if body and kind != b"application/json":
            sent = kind.decode("latin-1")
            answer = problem(415, f'send JSON with the header "Content-Type: application/json", not "{sent}"')
            await answer(scope, receive, send)
            return
        given = False

        async def receive_again() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, receive_again, send)


def _given_id(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == _CORRELATION_BYTES:
            given: str = value.decode("latin-1")
            return given if _CORRELATION_ID.fullmatch(given) else None
    return None


def _tell_endless(scope: Scope) -> None:
    """Let the connection know that it may end this answer when the service stops."""
    extension = scope.get("extensions", {}).get(ENDLESS)
    if extension:
        extension["tell"]()


def _level(path: str, status: int) -> int:
    if status >= 500:
        return logging.ERROR
    if status >= 400 or not status:
        return logging.WARNING
    return logging.DEBUG if path in _QUIET else logging.INFO
