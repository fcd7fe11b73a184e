# SPDX-License-Identifier: GPL-3.0-or-later
"""The application: the paths, the store and the live registry put together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from kubestead import dashboard
from kubestead.model.lifecycle import DEADLINES
from kubestead.store import AsyncStore, Store, StoreUnavailableError

from . import errors, openapi
from .access import authorization
from .auth import OPERATOR, Doorkeeper, Token
from .limits import RateLimit
from .live_registry import LiveRegistry
from .metrics import Measured, Metrics
from .middleware import BodyLimit, RequestLog
from .plain_app import create_plain_app
from .reports import FastReports, Reports
from .routes import all_routes
from .settings import REGISTRY_LIMIT, Settings
from .stream import Broadcaster
from .version import VERSION

__all__ = ["create_app", "create_plain_app"]

log = logging.getLogger(__name__)

SWEEP_SECONDS = 5.0


class StateApi(FastAPI):
    """The framework's application, behind what every request passes first.

    The framework would run that within layers of its own, which cost a report more than writing it does.
    """

    way_in: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        await self.way_in(scope, receive, send)

    async def framework(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that has come this far."""
        await super().__call__(scope, receive, send)


def create_app(settings: Settings) -> FastAPI:
    """Make the application; a token or a database that cannot be used is an error before anything listens."""
    token = Token.from_file(settings.token_file)
    store = Store(settings.database_url, deadlines={**DEADLINES, **settings.deadlines})
    writer = AsyncStore(store)
    registry = LiveRegistry(settings.registry, settings.last_good_registry)
    doorkeeper = Doorkeeper(token, store)
    stream = Broadcaster(store, registry, doorkeeper)
    reports = Reports(writer, registry, stream)
    metrics = Metrics(store, registry, stream)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        try:
            async with _in_background(
                _watch(registry, store, stream, settings.registry_poll_seconds),
                _sweep(store, stream),
                doorkeeper.run(),
                stream.run(),
            ):
                yield
        finally:
            stream.stop()
            await writer.close()
            store.close()

    app = StateApi(
        title="Kubestead State API",
        version=VERSION,
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.settings, app.state.store, app.state.writer = settings, store, writer
    app.state.registry, app.state.doorkeeper, app.state.stream = registry, doorkeeper, stream
    app.state.reports, app.state.metrics = reports, metrics
    app.router.routes.extend(all_routes())
    openapi.install(app)
    app.include_router(dashboard.router)
    errors.install(app)

    def is_operator(scope: Scope) -> bool:
        caller = doorkeeper.at_once(authorization(scope))
        return caller is not None and caller.scope == OPERATOR

    def body_limit(scope: Scope) -> int:
        # Only whoever may replace the registry may bring as much as one.
        whole_registry = scope["path"] == "/api/registry" and is_operator(scope)
        return REGISTRY_LIMIT if whole_registry else settings.body_limit

    fast = FastReports(app.framework, reports, doorkeeper)
    limited = RateLimit(BodyLimit(fast, body_limit), settings.rate, is_operator)
    app.way_in = RequestLog(Measured(limited, metrics))
    return app


@asynccontextmanager
async def _in_background(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do `works` as long as the block runs."""
    tasks = [asyncio.create_task(_told(work)) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _told(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except Exception:
        log.exception("what the State API does in the background has ended by a fault of the program")


async def _watch(registry: LiveRegistry, store: Store, stream: Broadcaster, seconds: float) -> None:
    """Take edits of the registry file over, and leave an event of each."""
    # A look at the file's time works on every file system; whoever edits sees problems in the log at once.
    before = registry.content
    while True:
        await asyncio.sleep(seconds)
        await asyncio.to_thread(registry.refresh)
        content = registry.content
        if content is before:
            continue
        before = content
        stream.wake()
        if await asyncio.to_thread(registry.take_own_edit):
            continue
        message = f"edited in place: {len(content.machines)} machines"
        if content.condition == "missing":
            message = "the file is gone; the last valid one stays in force"
        elif content.condition == "invalid":
            message = f"an edit is invalid, the last valid one stays in force: {content.problems[0]}"
            if len(content.problems) > 1:
                message += f" (and {len(content.problems) - 1} more)"
        try:
            await asyncio.to_thread(store.note, "registry", message)
        except StoreUnavailableError as error:
            log.warning("no event could be kept of the edit of the registry: %s", error)
        stream.wake()


async def _sweep(store: Store, stream: Broadcaster) -> None:
    """Let machines fail whose deadline has passed. Several instances may look; each expiry happens once."""
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        try:
            expired = await asyncio.to_thread(store.expire)
        except StoreUnavailableError as error:
            log.warning("deadlines cannot be looked at: %s", error)
            continue
        for record in expired:
            log.warning("%s", record.error or record.message, extra={"machine": record.mac})
        if expired:
            stream.wake()
