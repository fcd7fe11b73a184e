# SPDX-License-Identifier: GPL-3.0-or-later
"""What plain HTTP on the TLS port gets: one sentence that says what to type."""

from __future__ import annotations

import re

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from .errors import problem

_HOST = re.compile(rb"[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?")


def only_tls(_app: FastAPI) -> ASGIApp:
    """An application that answers every request with what to type instead."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        given = next((value for name, value in scope["headers"] if name == b"host"), b"")
        address, port = scope["server"]
        host = given.decode() if _HOST.fullmatch(given) else f"{address}:{port}"
        path = scope["raw_path"].decode("ascii", "replace")
        detail = f"this port speaks TLS: type https://{host}{path}"
        await problem(400, detail, {"Connection": "close"})(scope, receive, send)

    return answer
