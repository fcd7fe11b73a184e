# SPDX-License-Identifier: GPL-3.0-or-later
"""The tokens of people, dashboards and machines. That of the token file is not among them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Annotated

from fastapi import Path, Request

from kubestead.api.access import Section, caller_of
from kubestead.api.auth import MACHINE, READ, Doorkeeper
from kubestead.api.bodies import Identity, TokenBody, TokenMade, TokenView
from kubestead.api.views import token_view
from kubestead.store.records import INSTALL

from .common import Json, store_of, stream_of

section = Section("Tokens")

IdInPath = Annotated[int, Path(ge=1, le=2**53, description="the token's number, not its secret")]


@section.route("GET", "/api/whoami", allow={READ, MACHINE}, gives=Identity)
async def whoami(request: Request) -> Json:
    """Tell what the token of this request opens."""
    caller = caller_of(request)
    return Json({"name": caller.name, "scope": caller.scope, "mac": caller.mac})


@section.route("GET", "/api/tokens", allow=(), gives=list[TokenView], refuses=[503])
def get_tokens(request: Request) -> Json:
    """Give all tokens of people and machines, also those that open nothing any more."""
    return Json([token_view(record) for record in store_of(request).tokens() if record.scope != INSTALL])


@section.route("POST", "/api/tokens", allow=(), gives=TokenMade, status=201, refuses=[503])
def post_token(request: Request, body: TokenBody) -> Json:
    """Make a token. Its secret is in this answer and nowhere else: only a hash of it is kept."""
    expires_at = None
    if body.expires_in_seconds is not None:
        expires_at = datetime.now(timezone.utc) + timedelta(seconds=body.expires_in_seconds)
    record, secret = store_of(request).create_token(
        body.name, body.scope, mac=body.mac, expires_at=expires_at, actor=caller_of(request).name
    )
    stream_of(request).wake_from_thread()
    return Json({**token_view(record), "token": secret}, 201, {"Cache-Control": "no-store"})


@section.route("DELETE", "/api/tokens/{id}", allow=(), gives=TokenView, refuses=[404, 503])
def delete_token(request: Request, id: IdInPath) -> Json:
    """Revoke a token: from now on it opens nothing. Its record stays."""
    record = store_of(request).revoke_token(id, actor=caller_of(request).name)
    doorkeeper: Doorkeeper = request.app.state.doorkeeper
    doorkeeper.forget()
    stream_of(request).wake_from_thread()
    return Json(token_view(record))
