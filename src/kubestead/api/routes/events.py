# SPDX-License-Identifier: GPL-3.0-or-later
"""What happened, page by page or as it happens."""

from __future__ import annotations

from typing import Annotated

from fastapi import Header, Query, Request
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema
from starlette.responses import Response

from kubestead.api.access import Section, caller_of
from kubestead.api.auth import MACHINE, READ
from kubestead.api.bodies import Event, Mac
from kubestead.api.stream import Stream
from kubestead.api.views import event_view

from .common import Json, store_of, stream_of

section = Section("Events")

MOST_EVENTS = 1000
Position = Annotated[int, Field(ge=0, le=2**53)]


@section.route("GET", "/api/events", allow={READ}, gives=list[Event], refuses=[422, 503])
def get_events(
    request: Request,
    after: Annotated[
        Position | SkipJsonSchema[None], Query(description="only those with a greater id, oldest first")
    ] = None,
    mac: Annotated[
        Mac | SkipJsonSchema[None], Query(description="only this machine's, in any notation")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_EVENTS)] = 100,
) -> Json:
    """Give events: those after an id, oldest first; without it the newest, newest first."""
    if after is None:
        found = store_of(request).recent_events(mac, limit)
    else:
        found = store_of(request).events(after, mac, limit)
    return Json([event_view(event) for event in found])


@section.route(
    "GET",
    "/api/stream",
    allow={READ, MACHINE},
    refuses=[422, 503],
    content={"text/event-stream": {"schema": {"type": "string"}}},
)
async def get_stream(
    request: Request,
    mac: Annotated[
        list[Mac] | SkipJsonSchema[None],
        Query(max_length=1000, description="only these machines, in any notation"),
    ] = None,
    last_event_id: Annotated[
        Position | SkipJsonSchema[None], Header(description="the id of the last frame that was seen")
    ] = None,
) -> Response:
    """Follow what happens, as server-sent events.

    The first is `snapshot`: `{"machines": {mac: machine}, "registry": {condition, problems, warnings}}`.
    Whenever something changes comes `change`: `{"machines": {those that have changed}, "events": [...],
    "registry": {...}}`, the latter only if it has changed. What happens within a moment comes together; of a
    machine's reports in one state the last one counts. With `Last-Event-ID` the first `change` has the events
    since then. Another `snapshot` replaces all that was known. A machine follows itself only.
    """
    caller = caller_of(request)
    macs = frozenset(mac) if mac else None
    if caller.scope == MACHINE and caller.mac is not None:
        for each in mac or ():
            caller.must_act_for(each)
        macs = frozenset({caller.mac})
    viewer = await stream_of(request).join(caller, macs, last_event_id)
    return Stream(stream_of(request), viewer, request.headers.get("accept-encoding", ""))
