# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking reports: the path that every machine calls again and again, and so the one that has to be quick."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from fastapi import HTTPException
from pydantic import ValidationError
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as AsgiScope

from kubestead import store

from .access import authorization
from .auth import MACHINE, OPERATOR, Caller, Doorkeeper
from .bodies import StateBody, utc_text
from .errors import answer_to
from .live_registry import LiveRegistry, initial_state
from .logs import request_context
from .stream import Broadcaster

log = logging.getLogger(__name__)

PATH = "/api/state"
_ALLOWED = frozenset({OPERATOR, MACHINE})


class Reports:
    """Records reports; what it has answered is on disk."""

    def __init__(self, writer: store.AsyncStore, registry: LiveRegistry, stream: Broadcaster) -> None:
        """Write by `writer`, and tell `stream`."""
        self._writer = writer
        self._registry = registry
        self._stream = stream

    async def record(
        self, body: StateBody, caller: Caller, peer: str | None, correlation_id: str | None
    ) -> store.MachineRecord:
        """Record one report; raises what the store raises."""
        mac = body.mac
        machine = self._registry.content.machines.get(mac)
        if machine is None:
            if self._registry.has_changed():
                await asyncio.to_thread(self._registry.refresh)
                machine = self._registry.content.machines.get(mac)
            if machine is None:
                log.warning("a report about a machine that is not in the registry")
        record = await self._writer.record_state(
            store.StateReport(
                mac=mac,
                state=body.state,
                phase=body.phase,
                progress=body.progress,
                message=body.message,
                error=body.error,
                features=body.features or {},
                correlation_id=correlation_id,
                actor=caller.name,
                address=peer if caller.scope == MACHINE else None,
                initial=initial_state(machine),
                registry_locked=machine is not None and machine.locked,
                install_id=caller.install_id,
            )
        )
        self._stream.wake()
        return record


class FastReports:
    """Takes the reports that are as they should be past the framework, which costs more than recording them.

    Whatever is unusual about a request, from the token to the last field, goes the ordinary way: errors and
    the documentation have one home.
    """

    def __init__(self, app: ASGIApp, reports: Reports, doorkeeper: Doorkeeper) -> None:
        """Stand before `app`."""
        self._app = app
        self._reports = reports
        self._doorkeeper = doorkeeper
        self._validate = StateBody.__pydantic_validator__.validate_json

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Take a report, or pass the request on."""
        if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        scope["kubestead.route"] = PATH
        caller = await self._caller(authorization(scope))
        message = await receive()
        body = self._read(caller, message)
        if caller is None or body is None:
            await self._app(scope, _given_first(message, receive), send)
            return
        context = request_context.get()
        if context:
            context.machine = body.mac
        client = scope.get("client")
        try:
            record = await self._reports.record(
                body, caller, client[0] if client else None, context.correlation_id if context else None
            )
        except (store.StoreUnavailableError, store.IllegalTransitionError) as error:
            await answer_to(error)(scope, receive, send)
            return
        # Nothing in these needs to be escaped.
        updated_at = utc_text(record.updated_at)
        content = f'{{"mac":"{body.mac}","state":"{body.state}","updated_at":"{updated_at}"}}'.encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    async def _caller(self, header: bytes) -> Caller | None:
        caller = self._doorkeeper.at_once(header)
        if caller is None and header:
            # The ordinary way would find it too, and at a thousand machines after a start that is too dear.
            with suppress(HTTPException, store.StoreUnavailableError):
                caller = await self._doorkeeper.identify(header)
        return caller

    def _read(self, caller: Caller | None, message: Message) -> StateBody | None:
        if caller is None or caller.scope not in _ALLOWED or message.get("more_body"):
            return None
        content = message.get("body")
        if not content:
            return None
        try:
            body: StateBody = self._validate(content)
        except ValidationError:
            return None
        return body if caller.may_act_for(body.mac) else None


def _given_first(message: Message, receive: Receive) -> Receive:
    given = False

    async def receive_again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return message

    return receive_again
