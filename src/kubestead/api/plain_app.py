# SPDX-License-Identifier: GPL-3.0-or-later
"""What plain HTTP gets on the port that speaks TLS: a sentence, and two reads for networks that are named."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import TypeAdapter, ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

from kubestead.model.mac import normalise_mac
from kubestead.store import StoreUnavailableError

from .bodies import Key
from .errors import answer_to, problem
from .limits import RateLimit
from .middleware import RequestLog
from .routes.data import datum
from .routes.health import health
from .routes.states import states
from .settings import Settings, within

_HOST = re.compile(rb"(?:[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_PLAIN_PATH = re.compile(r"[A-Za-z0-9/._:?=&%-]{1,300}")
_DATUM = re.compile(r"/api/data/([^/]+)/([^/]+)")
_KEY: TypeAdapter[str] = TypeAdapter(Key)

Read = Callable[[Request], dict[str, Any]]


def create_plain_app(app: FastAPI) -> ASGIApp:
    """The application for requests without TLS, on the parts of `app`."""
    settings: Settings = app.state.settings
    plain = _PlainApp(app, settings)
    return RequestLog(RateLimit(plain, settings.rate))


class _PlainApp:
    """Takes no token: whoever sends one here has shown it to the whole network already."""

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http":
            await (await self._answer(scope))(scope, receive, send)

    async def _answer(self, scope: AsgiScope) -> JSONResponse:
        read = self._read(scope) if scope["method"] in ("GET", "HEAD") else None
        if read is None:
            return problem(400, self._what_to_type(scope), {"Connection": "close"})
        request = Request({**scope, "app": self._app})
        try:
            return JSONResponse(await run_in_threadpool(read, request))
        except HTTPException as error:
            return problem(error.status_code, str(error.detail))
        except StoreUnavailableError as error:
            return answer_to(error)

    def _read(self, scope: AsgiScope) -> Read | None:
        path: str = scope["path"]
        if path == "/healthz":
            return health
        client = scope.get("client")
        if not within(self._settings.plain_reads, client[0] if client else None):
            return None
        if path == "/api/states":
            return states
        if found := _DATUM.fullmatch(path):
            try:
                mac, key = normalise_mac(unquote(found[1])), _KEY.validate_python(found[2])
            except (ValueError, ValidationError):
                return None
            return lambda request: datum(request, mac, key)
        return None

    def _what_to_type(self, scope: AsgiScope) -> str:
        given = next((value for name, value in scope["headers"] if name == b"host"), b"")
        server = scope.get("server") or ("HOST", self._settings.tls and 8080)
        host = given.decode() if _HOST.fullmatch(given) else f"{server[0]}:{server[1]}"
        path = scope["path"] if _PLAIN_PATH.fullmatch(scope["path"]) else "/api/states"
        sentence = (
            "this port speaks TLS: curl --cacert /etc/kubestead/pki/ca.crt "
            f"-H 'Authorization: Bearer TOKEN' https://{host}{path}"
        )
        if path == "/api/states" or _DATUM.fullmatch(path):
            sentence += " (for reads without, see state_api_plain_reads)"
        return sentence
