# SPDX-License-Identifier: GPL-3.0-or-later
"""Values that machines and runs keep for a machine."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from fastapi import HTTPException, Request

from kubestead import store
from kubestead.api.access import Section, caller_of
from kubestead.api.auth import MACHINE, READ
from kubestead.api.bodies import DataBody, DataRecorded, Datum, Moment, utc_text
from kubestead.api.settings import Settings
from kubestead.model import hardware
from kubestead.model.registry import RegistryError

from .common import Json, KeyInPath, MacInPath, names_machine, registry_of, store_of, stream_of

log = logging.getLogger(__name__)
section = Section("Data")


@section.route("POST", "/api/data", allow={MACHINE}, gives=DataRecorded, refuses=[503])
async def post_data(request: Request, body: DataBody) -> Json:
    """Keep a JSON value of up to 256 KiB for a machine, in the place of the one under that key."""
    names_machine(body.mac)
    caller_of(request).must_act_for(body.mac)
    if await asyncio.to_thread(registry_of(request).machine, body.mac) is None:
        log.warning("data of a machine that is not in the registry")
    writer: store.AsyncStore = request.app.state.writer
    settings: Settings = request.app.state.settings
    datum = await writer.put_datum(body.mac, body.key, body.value)
    if body.key == hardware.KEY and settings.accept_features:
        await asyncio.to_thread(_accept_features, request, body.mac, body.value)
    return Json({"mac": datum.mac, "key": datum.key, "updated_at": utc_text(datum.updated_at)})


def _accept_features(request: Request, mac: str, value: Any) -> None:
    """Write what the hardware proposes into the registry. The datum is kept, whatever comes of this."""
    registry = registry_of(request)
    machine = registry.machine(mac)
    if machine is None:
        return
    proposed = hardware.proposals(value, machine.features)
    if not proposed:
        return
    try:
        new = registry.add_features(mac, [each.feature for each in proposed])
        if new:
            message = f"changed {machine.hostname}: its hardware proposes {', '.join(new)}"
            store_of(request).note("registry", message, mac=mac, actor=caller_of(request).name)
    except (RegistryError, store.StoreUnavailableError) as error:
        log.warning("what the hardware proposes was not written into the registry: %s", error)
    stream_of(request).wake_from_thread()


@section.route("GET", "/api/data/{mac}", allow={READ, MACHINE}, gives=dict[str, Moment], refuses=[503])
def get_data_keys(request: Request, mac: MacInPath) -> Json:
    """Give the keys under which values are stored for a machine, each with its time."""
    names_machine(mac)
    return Json({datum.key: utc_text(datum.updated_at) for datum in store_of(request).data(mac)})


@section.route("GET", "/api/data/{mac}/{key}", allow={READ, MACHINE}, gives=Datum, refuses=[404, 503])
def get_data(request: Request, mac: MacInPath, key: KeyInPath) -> Json:
    """Give a stored value with its time."""
    return Json(datum(request, mac, key))


def datum(request: Request, mac: str, key: str) -> dict[str, Any]:
    """What `/api/data/{mac}/{key}` says; HTTPException 404 where there is nothing."""
    names_machine(mac)
    found = store_of(request).datum(mac, key)
    if found is None:
        raise HTTPException(404, f"nothing is stored for {mac} under {key}")
    return {"mac": mac, "key": key, "value": found.value, "updated_at": utc_text(found.updated_at)}
