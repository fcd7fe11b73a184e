# SPDX-License-Identifier: GPL-3.0-or-later
"""What every request passes: a correlation id, a limit for its body, a line in the log, no traceback."""

from __future__ import annotations

import logging
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import problem
from .logs import RequestContext, request_context

log = logging.getLogger(__name__)
CORRELATION_HEADER = "X-Correlation-ID"
_CORRELATION_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_QUIET = {"/healthz"}  # asked every few seconds by whoever waits


class RequestLog:
    """Gives each request its correlation id (the caller's or a new one), logs it, answers faults."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(CORRELATION_HEADER, "")
        context = RequestContext(given if _CORRELATION_ID.fullmatch(given) else uuid.uuid4().hex)
        token = request_context.set(context)
        started, status = time.perf_counter(), 0

        async def send_and_see(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[CORRELATION_HEADER] = context.correlation_id
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
            client = scope.get("client")
            log.log(
                _level(scope["path"], status),
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
            request_context.reset(token)


class BodyLimit:
    """Reads the whole body before the application sees it, and refuses one that is too long or no JSON."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        """Wrap `app`; bodies longer than `limit` bytes are refused."""
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        announced = headers.get("content-length", "0")
        too_long = announced.isdigit() and int(announced) > self._limit
        body = bytearray()
        more = not too_long
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > self._limit:
                too_long, more = True, False
        if too_long:
            answer = problem(
                413, f"the body is too long: at most {self._limit} bytes", {"Connection": "close"}
            )
            await answer(scope, receive, send)
            return
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if body and kind != "application/json":
            answer = problem(415, f'send JSON with the header "Content-Type: application/json", not "{kind}"')
            await answer(scope, receive, send)
            return
        given = False

        async def receive_again() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": bytes(body), "more_body": False}

        await self._app(scope, receive_again, send)


def _level(path: str, status: int) -> int:
    if status >= 500:
        return logging.ERROR
    if status >= 400 or not status:
        return logging.WARNING
    return logging.DEBUG if path in _QUIET else logging.INFO
