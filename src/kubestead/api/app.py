# SPDX-License-Identifier: GPL-3.0-or-later
"""The application: the paths, the store and the live registry put together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI

from kubestead.store import Store

from . import errors, routes
from .auth import Token
from .live_registry import LiveRegistry
from .middleware import BodyLimit, RequestLog
from .settings import Settings
from .version import VERSION


def create_app(settings: Settings) -> FastAPI:
    """Make the application; a token or a database that cannot be used is an error before anything listens."""
    token = Token.from_file(settings.token_file)
    store = Store.at(settings.database)
    registry = LiveRegistry(settings.registry, settings.last_good_registry)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        watching = asyncio.create_task(_watch(registry, settings.registry_poll_seconds))
        try:
            yield
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
            store.close()

    app = FastAPI(
        title="Kubestead State API",
        version=VERSION,
        description="What should be of every machine (the registry), and what is (the state store).",
        lifespan=lifespan,
        redoc_url=None,
    )
    app.state.token, app.state.store, app.state.registry = token, store, registry
    app.include_router(routes.public)
    app.include_router(routes.guarded)
    errors.install(app)
    app.add_middleware(BodyLimit, limit=settings.body_limit)
    app.add_middleware(RequestLog)
    return app


async def _watch(registry: LiveRegistry, seconds: float) -> None:
    # A look at the file's time works on every file system; whoever edits sees problems in the log at once.
    while True:
        await asyncio.sleep(seconds)
        await asyncio.to_thread(registry.refresh)
