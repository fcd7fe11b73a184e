# SPDX-License-Identifier: GPL-3.0-or-later
"""What each path takes, gives and asks for, declared once: who may call it, and how it may refuse.

No path is without a declaration: `Section` is the only way to make one, and it asks who may call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from fastapi import HTTPException, Request
from fastapi.routing import APIRoute
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from kubestead.model.mac import normalise_mac

from . import auth, bodies
from .auth import INSTALL, MACHINE, OPERATOR, READ, Caller, Doorkeeper

PUBLIC = "public"

Handler = TypeVar("Handler", bound=Callable[..., Any])

_WORDS: dict[int, str] = {
    304: "The client has it already",
    400: "The request cannot be read",
    401: "No token, or one that is unknown, expired or revoked",
    403: "The token is not for this, or not for this machine",
    404: "There is none",
    409: "It does not fit how things are now; the answer says how they are",
    412: "What is there is not what the caller has seen; the answer has the difference",
    413: "The body is too long",
    415: "The body is not marked as JSON",
    422: "The request does not say what it must; all problems are named",
    431: "The request's line and headers are too long",
    429: "Too many requests from this address; Retry-After says when to come back",
    503: "It cannot be done now and nothing was written; try again",
}
_MODELS: dict[int, Any] = {412: bodies.Difference}


class GuardedRoute(APIRoute):
    """A path for the scopes in `allowed` only; that is looked at before anything else of a request."""

    allowed: frozenset[str] = frozenset()

    async def handle(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Answer a request, if its caller may send it."""
        if PUBLIC not in self.allowed and scope["method"] in (self.methods or ()):
            await self._admit(scope)
            self._check_query(scope)
        await super().handle(scope, receive, send)

    async def _admit(self, scope: AsgiScope) -> None:
        keeper: Doorkeeper = scope["app"].state.doorkeeper
        caller = auth.installer(authorization(scope)) if INSTALL in self.allowed else None
        if caller is None:
            caller = await keeper.identify(authorization(scope))
        scope.setdefault("state", {})["caller"] = caller
        if caller.scope not in self.allowed:
            raise auth.forbidden(
                f"the scope of this token is {caller.scope}: this needs {_one_of(self.allowed)}"
            )
        wanted = scope["path_params"].get("mac")
        if wanted is not None and caller.scope == MACHINE:
            try:
                mac = normalise_mac(wanted)
            except ValueError:
                return  # no machine at all, which the path's own check says better
            caller.must_act_for(mac)

    def _check_query(self, scope: AsgiScope) -> None:
        if not scope["query_string"]:
            return
        known = [parameter.alias for parameter in self.dependant.query_params]
        for name, _value in parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True):
            if name not in known:
                raise HTTPException(422, f'unknown parameter "{name}" (known: {", ".join(known) or "none"})')


class Section:
    """The paths of one concern."""

    def __init__(self, name: str) -> None:
        """Begin without any; `name` is their heading in the documentation."""
        self.name = name
        self.routes: list[GuardedRoute] = []

    def route(
        self,
        method: str,
        path: str,
        *,
        allow: Iterable[str],
        gives: Any = None,
        status: int = 200,
        also: dict[int, Any] | None = None,
        refuses: Iterable[int] = (),
        content: dict[str, Any] | None = None,
    ) -> Callable[[Handler], Handler]:
        """Declare a path.

        allow: the scopes that may call it beside operators, or PUBLIC; or INSTALL, then nobody else.
        gives: the model of its answer.
        also: further statuses with models of their own.
        refuses: the statuses of its own refusals; those that every path shares are added here.
        content: the description of an answer that is no JSON.
        """
        public = PUBLIC in allow
        refusals = {*refuses, 429, 431, *(() if public else (401, 403, 422))}
        if method in ("POST", "PUT"):
            refusals |= {400, 413, 415}
        responses: dict[int | str, dict[str, Any]] = {
            code: {"model": _MODELS.get(code, bodies.Problem), "description": _WORDS[code]}
            for code in sorted(refusals)
        }
        for code, model in (also or {}).items():
            responses[code] = {"description": _WORDS.get(code, "Done")} | ({"model": model} if model else {})
        if content is not None:
            responses[status] = {"content": content, "description": "Done"}

        def declare(handler: Handler) -> Handler:
            options: dict[str, Any] = {"response_model": gives} if gives is not None or content else {}
            route = GuardedRoute(
                path,
                handler,
                methods=[method],
                tags=[self.name],
                status_code=status,
                responses=responses,
                operation_id=handler.__name__,
                summary=(handler.__doc__ or "").partition("\n")[0].rstrip("."),
                openapi_extra=None if public else {"security": [{"token": []}], "x-scopes": _scopes(allow)},
                **options,
            )
            route.allowed = frozenset(allow) if public else frozenset(_scopes(allow))
            self.routes.append(route)
            return handler

        return declare


def caller_of(request: Request) -> Caller:
    """Who has sent this request."""
    caller: Caller = request.state.caller
    return caller


def authorization(scope: AsgiScope) -> bytes:
    """The Authorization header of a request, empty where there is none."""
    for name, value in scope["headers"]:
        if name == b"authorization":
            return bytes(value)
    return b""


def _scopes(allow: Iterable[str]) -> list[str]:
    if INSTALL in allow:
        return [INSTALL]
    return [scope for scope in (OPERATOR, READ, MACHINE) if scope == OPERATOR or scope in tuple(allow)]


def _one_of(scopes: Iterable[str]) -> str:
    return " or ".join(_scopes(scopes))
