# SPDX-License-Identifier: GPL-3.0-or-later
"""The dashboard's files, read once, served with headers that let the browser run nothing else.

The page is the same for everybody and holds no secret: what it shows it asks the API for, with the token of
whoever has signed in.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import PurePosixPath

from fastapi import APIRouter, HTTPException, Request, Response

from kubestead.model import lifecycle

CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        # Text from machines can never become markup, not even by a mistake of ours.
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ]
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Asked for anew each time, answered by 304: an upgraded API never meets an older page.
    "Cache-Control": "no-cache",
}
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_PAGE = "index.html"

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class _File:
    content: bytes
    media_type: str
    etag: str

    @classmethod
    def make(cls, name: str, content: bytes) -> _File:
        digest = hashlib.sha256(content).hexdigest()[:32]
        return cls(content, _TYPES[PurePosixPath(name).suffix], f'"{digest}"')


@router.api_route("/", methods=["GET", "HEAD"])
def page(request: Request) -> Response:
    """Give the page."""
    return _answer(request, files()[_PAGE])


@router.api_route("/static/{name}", methods=["GET", "HEAD"])
def static(request: Request, name: str) -> Response:
    """Give one of the files that the page is made of."""
    file = files().get(name)
    if file is None or name == _PAGE:
        raise HTTPException(404, f"the dashboard has no file {name}: open / instead")
    return _answer(request, file)


@cache
def files() -> dict[str, _File]:
    """All files by name."""
    folder = resources.files(__package__) / "static"
    found = {item.name: item.read_bytes() for item in folder.iterdir() if item.is_file()}
    found["lifecycle.js"] = _lifecycle().encode()
    return {name: _File.make(name, content) for name, content in found.items()}


def _lifecycle() -> str:
    """The rules of the lifecycle as a module for the page, so that they have one home."""
    sources = {
        action: [state for state in lifecycle.STATES if wanted in lifecycle.TRANSITIONS[state]]
        for action, wanted in lifecycle.ACTIONS.items()
        if wanted is not None
    }
    return (
        "// SPDX-License-Identifier: GPL-3.0-or-later\n"
        "// Made from kubestead.model.lifecycle: the states, and in which of them an action is possible.\n"
        f"export const STATES = {json.dumps(lifecycle.STATES)};\n"
        f"export const POSSIBLE_IN = {json.dumps(sources)};\n"
    )


def _answer(request: Request, file: _File) -> Response:
    headers = {**HEADERS, "ETag": file.etag}
    known = (tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(","))
    if file.etag in known:
        return Response(status_code=304, headers=headers)
    return Response(file.content, media_type=file.media_type, headers=headers)
