# SPDX-License-Identifier: GPL-3.0-or-later
"""What the paths have in common: the parts of the application, and what a MAC in a path means."""

from __future__ import annotations

from typing import Annotated

from fastapi import HTTPException, Path, Request
from fastapi.responses import JSONResponse

from kubestead import store
from kubestead.api.bodies import Key, Mac
from kubestead.api.live_registry import LiveRegistry
from kubestead.api.logs import request_context
from kubestead.api.stream import Broadcaster

Json = JSONResponse

MacInPath = Annotated[Mac, Path(description="in any common notation", examples=["52:54:00:77:00:11"])]
ClaimInPath = Annotated[Key, Path(alias="name", description="what is claimed", examples=["cluster-homelab"])]
KeyInPath = Annotated[Key, Path(description="the key under which the value was stored")]


def store_of(request: Request) -> store.Store:
    """The state store."""
    found: store.Store = request.app.state.store
    return found


def registry_of(request: Request) -> LiveRegistry:
    """The live registry."""
    found: LiveRegistry = request.app.state.registry
    return found


def stream_of(request: Request) -> Broadcaster:
    """What tells the viewers of the event stream."""
    found: Broadcaster = request.app.state.stream
    return found


def correlation_id() -> str | None:
    """What ties together the requests of one run."""
    context = request_context.get()
    return context.correlation_id if context else None


def names_machine(mac: str) -> None:
    """Let the log lines of this request name the machine."""
    if context := request_context.get():
        context.machine = mac


def peer_of(request: Request) -> str | None:
    """The address that a request came from."""
    return request.client.host if request.client else None


def unknown_machine(request: Request, mac: str) -> HTTPException:
    """The refusal where neither registry nor store know a machine."""
    path = registry_of(request).path
    return HTTPException(
        404,
        f"the machine {mac} is neither in the registry {path} nor has it reported: "
        "add it there, or check the address",
    )
