# SPDX-License-Identifier: GPL-3.0-or-later
"""What machines and runs report, and the entry in the registry that a machine asks for."""

from __future__ import annotations

from typing import Any

from fastapi import HTTPException, Request

from kubestead.api.access import Section, caller_of
from kubestead.api.auth import MACHINE, READ
from kubestead.api.bodies import MachineState, StateBody, StateRecorded, utc_text
from kubestead.api.live_registry import public_entry
from kubestead.api.reports import Reports
from kubestead.api.views import state_view

from .common import Json, MacInPath, correlation_id, names_machine, peer_of, registry_of, store_of

section = Section("Reports")


@section.route("POST", "/api/state", allow={MACHINE}, gives=StateRecorded, refuses=[409, 503])
async def post_state(request: Request, body: StateBody) -> Json:
    """Record a machine's state.

    The report replaces the one before; features keep their status until they are named again. A state that
    may not follow the present one is refused with 409; the same one again is progress.
    """
    caller = caller_of(request)
    names_machine(body.mac)
    caller.must_act_for(body.mac)
    reports: Reports = request.app.state.reports
    record = await reports.record(body, caller, peer_of(request), correlation_id())
    return Json({"mac": body.mac, "state": body.state, "updated_at": utc_text(record.updated_at)})


@section.route("GET", "/api/states", allow={READ}, gives=dict[str, MachineState], refuses=[503])
def get_states(request: Request) -> Json:
    """Give the last report of every machine by MAC, those of the registry first, in its order.

    A machine of the registry that has not reported has no state. Where a report carried an error, the message
    ends in it.
    """
    return Json(states(request))


def states(request: Request) -> dict[str, Any]:
    """What `/api/states` says."""
    reported = {mac: record for mac, record in store_of(request).machines().items() if record.state}
    registered = registry_of(request).machines()
    macs = dict.fromkeys([*registered, *reported])
    return {mac: state_view(registered.get(mac), reported.get(mac)) for mac in macs}


@section.route("GET", "/api/config/{mac}", allow={READ, MACHINE}, gives=dict[str, Any], refuses=[404])
def get_config(request: Request, mac: MacInPath) -> Json:
    """Give a machine's entry in the registry, without secrets."""
    names_machine(mac)
    machine = registry_of(request).machine(mac)
    if machine is None:
        path = registry_of(request).path
        raise HTTPException(
            404, f"the machine {mac} is not in the registry {path}: add it there, or check the address"
        )
    return Json(public_entry(machine))
