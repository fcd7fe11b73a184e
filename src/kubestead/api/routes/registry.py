# SPDX-License-Identifier: GPL-3.0-or-later
"""The live registry: shown, replaced by a controller that keeps it in git, edited one machine at a time."""

from __future__ import annotations

import logging
from typing import Annotated, Any

from fastapi import Body, HTTPException, Query, Request, Response

from kubestead.api.access import Section, caller_of
from kubestead.api.auth import OPERATOR, READ
from kubestead.api.bodies import RegistryBody, RegistryProblem, RegistryView
from kubestead.api.errors import problem
from kubestead.api.live_registry import (
    RegistryError,
    RegistryLockedError,
    RegistryUnwritableError,
    public_entry,
)
from kubestead.store import StoreUnavailableError

from .common import Json, MacInPath, correlation_id, names_machine, registry_of, store_of, stream_of

log = logging.getLogger(__name__)
section = Section("Registry")

_INVALID = {422: RegistryProblem}
ExpectedEntry = Annotated[
    str | None,
    Query(
        pattern=r"^([0-9a-f]{64}|absent)$",
        description="SHA-256 of the entry that the caller has seen (as JSON, its keys sorted), or `absent`",
    ),
]
Entry = Annotated[dict[str, Any], Body(description="the machine's entry, with the keys of a registry file")]


@section.route("GET", "/api/registry", allow={READ}, gives=RegistryView)
def get_registry(request: Request) -> Json:
    """Give the live registry's file and what is wrong with it; its text to operators only."""
    return Json(registry_of(request).view(caller_of(request).scope == OPERATOR))


@section.route("PUT", "/api/registry", allow=(), gives=RegistryView, refuses=[412, 503])
def put_registry(request: Request, body: RegistryBody) -> Response:
    """Put a whole registry in the place of the live one, which stays beside it as `FILE.TIME~`.

    It has to be valid, and may undo no edit that the caller has not seen: where the live file is neither the
    same, nor the one of `expected_sha256` (without that: the one pushed last), the answer is 412 with the
    difference.
    """
    registry = registry_of(request)
    before = registry.machines()
    try:
        changed = registry.replace(body.text, body.expected_sha256, body.force)
    except (RegistryLockedError, RegistryUnwritableError):
        raise
    except RegistryError as error:
        problems = [str(each) for each in error.problems]
        return problem(422, "; ".join(problems), problems=problems)
    if changed:
        after = registry.content.machines
        added, gone = len(after.keys() - before.keys()), len(before.keys() - after.keys())
        edited = sum(1 for mac in after.keys() & before.keys() if after[mac] != before[mac])
        _note(request, f"replaced: {added} machines added, {edited} changed, {gone} removed")
    return Json(registry.view(with_text=True))


@section.route(
    "PUT",
    "/api/registry/machines/{mac}",
    allow=(),
    gives=dict[str, Any],
    also={201: dict[str, Any]},
    refuses=[409, 412, 503],
)
def put_registry_machine(
    request: Request, mac: MacInPath, entry: Entry, expected: ExpectedEntry = None
) -> Json:
    """Give a machine this entry in the registry; one that is there is replaced as a whole.

    Where the one that is there is not `expected`, the answer is 412 with the difference.
    """
    names_machine(mac)
    registry = registry_of(request)
    new = registry.put_machine(mac, entry, expected)
    _note(request, f"{'added' if new else 'changed'} {entry['hostname']}", mac)
    machine = registry.content.machines[mac]
    return Json(public_entry(machine), 201 if new else 200)


@section.route(
    "DELETE", "/api/registry/machines/{mac}", allow=(), gives=RegistryView, refuses=[404, 409, 412, 503]
)
def delete_registry_machine(request: Request, mac: MacInPath, expected: ExpectedEntry = None) -> Json:
    """Take a machine out of the registry. What was reported about it stays."""
    names_machine(mac)
    registry = registry_of(request)
    machine = registry.machine(mac)
    try:
        registry.remove_machine(mac, expected)
    except KeyError:
        raise HTTPException(404, f"the machine {mac} is not in the registry {registry.path}") from None
    _note(request, f"removed {machine.hostname if machine else mac}", mac)
    return Json(registry.view(with_text=True))


def _note(request: Request, message: str, mac: str | None = None) -> None:
    """Leave an event. The registry has changed already: where the store cannot take it, the log has it."""
    try:
        store_of(request).note(
            "registry", message, mac=mac, actor=caller_of(request).name, correlation_id=correlation_id()
        )
    except StoreUnavailableError as error:
        log.warning("the registry was changed (%s), and no event could be kept of it: %s", message, error)
    stream_of(request).wake_from_thread()
