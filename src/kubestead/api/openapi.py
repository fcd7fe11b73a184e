# SPDX-License-Identifier: GPL-3.0-or-later
"""The API's description of itself, and the page that shows it without help from other hosts."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

DESCRIPTION = """\
What should be of every machine (the registry), and what is (the state store).

Every path says which scopes its token may have. An `operator` may do everything; a `machine` token is bound
to one MAC and acts for that machine only. Errors are `{"detail": "one sentence"}`.
"""

PAGE_HEADERS = {
    "Content-Security-Policy": "; ".join(
        [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "img-src 'self' data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
_PAGES = {
    "/docs": ("docs.html", "text/html; charset=utf-8"),
    "/docs/docs.js": ("docs.js", "text/javascript; charset=utf-8"),
    "/docs/docs.css": ("docs.css", "text/css; charset=utf-8"),
}


def install(app: FastAPI) -> None:
    """Let `app` describe itself at /openapi.json, and show that at /docs."""
    described: bytes | None = None

    def describe(_request: Request) -> Response:
        nonlocal described
        if described is None:
            described = json.dumps(description(app), ensure_ascii=False).encode()
        return Response(described, media_type="application/json", headers={"Cache-Control": "no-cache"})

    app.router.routes.append(Route("/openapi.json", describe, include_in_schema=False))
    for path, (name, kind) in _PAGES.items():
        content = (resources.files(__package__) / "pages" / name).read_bytes()
        app.router.routes.append(Route(path, _page(content, kind), include_in_schema=False))


def description(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document."""
    routes = [route for route in app.routes if isinstance(route, APIRoute)]
    document = get_openapi(title=app.title, version=app.version, description=DESCRIPTION, routes=routes)
    document.setdefault("components", {})["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "description": "A token of the API"}
    }
    return document


def _page(content: bytes, kind: str) -> Any:
    def page(_request: Request) -> Response:
        return Response(content, headers={**PAGE_HEADERS, "Content-Type": kind})

    return page
