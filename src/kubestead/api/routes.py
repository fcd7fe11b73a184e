# SPDX-License-Identifier: GPL-3.0-or-later
"""The paths that machines, runs and people call. Handlers run in threads: the store waits for the disk."""

from __future__ import annotations

import logging
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Path, Request

from kubestead import store
from kubestead.model.machine import Machine

from .auth import require_token
from .bodies import (
    DataBody,
    DataRecorded,
    Datum,
    Health,
    Key,
    Mac,
    MachineState,
    Problem,
    StateBody,
    StateRecorded,
)
from .live_registry import LiveRegistry, public_entry
from .logs import request_context
from .version import VERSION

log = logging.getLogger(__name__)

MacInPath = Annotated[Mac, Path(description="in any common notation", examples=["52:54:00:77:00:11"])]
KeyInPath = Annotated[Key, Path(description="the key under which the value was stored")]

_REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {"model": Problem, "description": "No token, or not this API's"},
    422: {"model": Problem, "description": "The request does not say what it must; all problems are named"},
    503: {"model": Problem, "description": "The store cannot be used now; nothing was written"},
}
_BODY_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "The body cannot be read"},
    413: {"model": Problem, "description": "The body is too long"},
    415: {"model": Problem, "description": "The body is not marked as JSON"},
}
_NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": Problem, "description": "There is none"}}

public = APIRouter()
guarded = APIRouter(prefix="/api", dependencies=[Depends(require_token)], responses=_REFUSALS)


@public.get("/healthz", responses={503: {"model": Problem, "description": "The store cannot be used now"}})
def healthz(request: Request) -> Health:
    """Tell whether the API can do its work.

    `registry` is `ok`, `missing` or `invalid`; with the latter two the last valid one stays in force.
    """
    _store(request).check()
    machines = _registry(request).machines()
    return Health(status="ok", version=VERSION, registry=_registry(request).condition, machines=len(machines))


@guarded.get("/config/{mac}", responses=_NOT_FOUND)
def get_config(request: Request, mac: MacInPath) -> dict[str, Any]:
    """Give a machine's entry in the registry, without secrets."""
    machine = _seen(request, mac)
    if machine is None:
        path = _registry(request).path
        raise HTTPException(
            404, f"the machine {mac} is not in the registry {path}: add it there, or check the address"
        )
    return public_entry(machine)


@guarded.post("/state", responses=_BODY_REFUSALS)
def post_state(request: Request, body: StateBody) -> StateRecorded:
    """Record a machine's state.

    The report replaces the one before; features keep their status until they are named again.
    """
    machine = _seen(request, body.mac)
    if machine is None:
        log.warning("a report about a machine that is not in the registry")
    context = request_context.get()
    recorded = _store(request).record_state(
        store.StateReport(
            mac=body.mac,
            state=body.state,
            phase=body.phase,
            progress=body.progress,
            message=body.message,
            error=body.error,
            features=body.features or {},
            correlation_id=context.correlation_id if context else None,
            initial="approved" if machine else "discovered",
        )
    )
    return StateRecorded(mac=recorded.mac, state=body.state, updated_at=recorded.updated_at)


@guarded.get("/states")
def get_states(request: Request) -> dict[str, MachineState]:
    """Give the last report of every machine by MAC, those of the registry first, in its order.

    A machine of the registry that has not reported has no state. Where a report carried an error, the message
    ends in it.
    """
    reported = _store(request).states()
    registered = _registry(request).machines()
    macs = dict.fromkeys([*registered, *reported])
    return {mac: _state(registered.get(mac), reported.get(mac)) for mac in macs}


@guarded.post("/data", responses=_BODY_REFUSALS)
def post_data(request: Request, body: DataBody) -> DataRecorded:
    """Keep a JSON value of up to 256 KiB for a machine, in the place of the one under that key."""
    if _seen(request, body.mac) is None:
        log.warning("data of a machine that is not in the registry")
    datum = _store(request).put_datum(body.mac, body.key, body.value)
    return DataRecorded(mac=datum.mac, key=datum.key, updated_at=datum.updated_at)


@guarded.get("/data/{mac}/{key}", responses=_NOT_FOUND)
def get_data(request: Request, mac: MacInPath, key: KeyInPath) -> Datum:
    """Give a stored value with its time."""
    _seen(request, mac)
    datum = _store(request).datum(mac, key)
    if datum is None:
        raise HTTPException(404, f"nothing is stored for {mac} under {key}")
    return Datum(mac=datum.mac, key=datum.key, value=datum.value, updated_at=datum.updated_at)


def _store(request: Request) -> store.Store:
    found: store.Store = request.app.state.store
    return found


def _registry(request: Request) -> LiveRegistry:
    found: LiveRegistry = request.app.state.registry
    return found


def _seen(request: Request, mac: str) -> Machine | None:
    """Let the log lines of this request name the machine; give its entry in the registry."""
    if context := request_context.get():
        context.machine = mac
    return _registry(request).machine(mac)


def _state(machine: Machine | None, last: store.MachineState | None) -> MachineState:
    return MachineState(
        hostname=machine.hostname if machine else None,
        role=machine.role if machine else None,
        state=last.state if last else None,
        phase=last.phase if last else None,
        progress=last.progress if last else None,
        message=_message(last) if last else None,
        features=dict(last.features) if last else {},
        updated_at=last.updated_at if last else None,
    )


def _message(last: store.MachineState) -> str | None:
    if not last.error or last.error == last.message:
        return last.message
    return f"{last.message}: {last.error}" if last.message else last.error
