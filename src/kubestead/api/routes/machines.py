# SPDX-License-Identifier: GPL-3.0-or-later
"""The machines as registry and store together see them, and what a person may do with one."""

from __future__ import annotations

from typing import Any

from fastapi import HTTPException, Request

from kubestead.api.access import Section, caller_of
from kubestead.api.auth import MACHINE, READ
from kubestead.api.bodies import ActionBody, MachineConflict, MachineView, ReinstallBody
from kubestead.api.errors import problem
from kubestead.api.live_registry import initial_state
from kubestead.api.views import machine_view, machine_views
from kubestead.model.machine import Machine
from kubestead.store import ConflictError, IllegalTransitionError

from .common import (
    Json,
    MacInPath,
    correlation_id,
    names_machine,
    registry_of,
    store_of,
    stream_of,
    unknown_machine,
)

section = Section("Machines")

_ACTION: dict[str, Any] = {
    "allow": (),
    "gives": MachineView,
    "also": {409: MachineConflict},
    "refuses": [404, 503],
}


@section.route("GET", "/api/machines", allow={READ}, gives=dict[str, MachineView], refuses=[503])
def get_machines(request: Request) -> Json:
    """Give every machine by MAC, those of the registry first, in its order."""
    return Json(machine_views(registry_of(request).machines(), store_of(request).machines()))


@section.route("GET", "/api/machines/{mac}", allow={READ, MACHINE}, gives=MachineView, refuses=[404, 503])
def get_machine(request: Request, mac: MacInPath) -> Json:
    """Give one machine."""
    names_machine(mac)
    machine, record = registry_of(request).machine(mac), store_of(request).machine(mac)
    if machine is None and record is None:
        raise unknown_machine(request, mac)
    return Json(machine_view(mac, machine, record))


@section.route("POST", "/api/machines/{mac}/approve", **_ACTION)
def approve_machine(request: Request, mac: MacInPath, body: ActionBody) -> Json:
    """Let a machine that was found, has failed or was retired be used."""
    return _act(request, mac, "approve", body)


@section.route("POST", "/api/machines/{mac}/lock", **_ACTION)
def lock_machine(request: Request, mac: MacInPath, body: ActionBody) -> Json:
    """Forbid every installation of a machine, whatever else happens to it."""
    return _act(request, mac, "lock", body)


@section.route("POST", "/api/machines/{mac}/unlock", **_ACTION)
def unlock_machine(request: Request, mac: MacInPath, body: ActionBody) -> Json:
    """Take the lock away. A lock that stands in the registry stays."""
    return _act(request, mac, "unlock", body)


@section.route("POST", "/api/machines/{mac}/retire", **_ACTION)
def retire_machine(request: Request, mac: MacInPath, body: ActionBody) -> Json:
    """Take a machine out of service."""
    return _act(request, mac, "retire", body)


@section.route("POST", "/api/machines/{mac}/install", **_ACTION)
def install_machine(request: Request, mac: MacInPath, body: ActionBody) -> Json:
    """Have a new machine installed when it boots next.

    One that has a system is refused, and so is, by the installer, a disk that is not empty.
    """
    _registered(request, mac)
    return _act(request, mac, "install", body)


@section.route("POST", "/api/machines/{mac}/rescue", **_ACTION)
def rescue_machine(request: Request, mac: MacInPath, body: ActionBody) -> Json:
    """Have a machine boot the rescue system once when it boots next, in memory: its disk is not touched."""
    _registered(request, mac)
    return _act(request, mac, "rescue", body)


@section.route("POST", "/api/machines/{mac}/reinstall", **_ACTION)
def reinstall_machine(request: Request, mac: MacInPath, body: ReinstallBody) -> Json:
    """Have a machine installed anew when it boots next, which erases its disk.

    The host name has to be the one that the registry gives the machine: nobody erases the wrong one by a MAC.
    """
    machine = _registered(request, mac)
    if machine.hostname != body.hostname:
        view = machine_view(mac, machine, store_of(request).machine(mac))
        detail = f'the machine {mac} is {machine.hostname}, not "{body.hostname}": nothing was done'
        return problem(409, detail, machine=view)
    return _act(request, mac, "reinstall", body)


def _registered(request: Request, mac: str) -> Machine:
    machine = registry_of(request).machine(mac)
    if machine is None:
        path = registry_of(request).path
        raise HTTPException(404, f"the machine {mac} is not in the registry {path}: add it there first")
    return machine


def _act(request: Request, mac: str, action: str, body: ActionBody) -> Json:
    names_machine(mac)
    machine, state_store = registry_of(request).machine(mac), store_of(request)
    if machine is None and state_store.machine(mac) is None:
        raise unknown_machine(request, mac)
    try:
        record = state_store.act(
            mac,
            action,
            actor=caller_of(request).name,
            correlation_id=correlation_id(),
            expected_version=body.version,
            initial=initial_state(machine),
            registry_locked=machine is not None and machine.locked,
        )
    except (IllegalTransitionError, ConflictError) as error:
        return problem(409, str(error), machine=machine_view(mac, machine, error.current))
    stream_of(request).wake_from_thread()
    return Json(machine_view(mac, machine, record))
