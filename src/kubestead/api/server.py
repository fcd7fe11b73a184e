# SPDX-License-Identifier: GPL-3.0-or-later
"""Running the State API as a service: its ports, reloading, stopping, readiness."""

from __future__ import annotations

import asyncio
import errno
import logging
import resource
import signal
import socket
import threading
from collections.abc import Coroutine, Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp

from kubestead.exit_codes import ExitCode
from kubestead.installers import SettingsFile
from kubestead.store import StoreError

from .app import create_app, create_plain_app
from .arguments import parse, settings_of
from .auth import TokenFileError
from .boot import BootApp
from .boot_files import BootFiles
from .booting import Booting
from .connection import Connection, Patience
from .limits import BehindProxy, Seats
from .listener import Factory, Listener
from .logs import set_up_logs
from .middleware import RequestLog
from .settings import Settings, SettingsError
from .tls import Tls
from .watchdog import Watchdog, interval, notify, notify_reloading

log = logging.getLogger(__name__)

GRACE = 10  # seconds that requests may go on for when the service stops
_A_DAY = 86_400.0
_OTHER_FILES = 256  # the store's, boot files, the program's own


class PortError(Exception):
    """A port cannot be listened on; the message says why and what to do."""


def main(
    arguments: Sequence[str] | None = None, program: str = "python -m kubestead.api", loop: str = "uvloop"
) -> int:
    """Run the State API until it is told to stop; return the exit code."""
    options = parse(arguments, program)
    set_up_logs(options.log_level)
    try:
        settings = settings_of(options)
        tls = Tls.of(settings)
        app = create_app(settings)
        if options.check:
            return ExitCode.DONE
        port = listen(options.bind, options.port)
        boot_port = listen(options.bind, settings.boot_port) if settings.boot_port else None
    except (SettingsError, TokenFileError, StoreError, PortError) as error:
        problem = str(error)
    else:
        plain = create_plain_app(app)
        server = StateServer(app, settings, port, boot_port, tls, plain=plain, loop=loop)
        _allow_files(settings.connections + _OTHER_FILES)
        server.run()
        if server.interrupted:
            return ExitCode.INTERRUPTED
        return ExitCode.DONE if server.started else ExitCode.FAILED
    log.error("%s", problem)
    return ExitCode.LACKING


def listen(bind: str, port: int) -> socket.socket:
    """A socket that listens; PortError says why there can be none."""
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    both = bind == "::" and socket.has_dualstack_ipv6()
    try:
        return socket.create_server((bind, port), family=family, backlog=2048, dualstack_ipv6=both)
    except OSError as error:
        advice = {
            errno.EADDRINUSE: f"taken (`ss -ltnp sport = :{port}` shows by what): stop it or choose another",
            errno.EADDRNOTAVAIL: "this computer does not have that address: choose --bind",
            errno.EACCES: "ports below 1024 need the capability CAP_NET_BIND_SERVICE: choose another",
        }
        reason = advice.get(error.errno or 0, str(error))
        raise PortError(f"cannot listen on {bind} port {port}: {reason}") from error


def _allow_files(wanted: int) -> None:
    """Let this process have so many files open, if it may: systemd's first limit is 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        except (OSError, ValueError) as error:
            log.warning("only %d files and connections can be open at a time: %s", soft, error)


class StateServer(uvicorn.Server):
    """uvicorn, with our listeners in the place of its own, and in touch with systemd."""

    def __init__(
        self,
        app: FastAPI,
        settings: Settings,
        port: socket.socket,
        boot_port: socket.socket | None = None,
        tls: Tls | None = None,
        *,
        plain: ASGIApp,
        loop: str = "uvloop",
    ) -> None:
        """Serve `app` on `port`; with `tls` those who come without it there get `plain`."""
        served = BehindProxy(app, settings.trusted_proxies) if settings.trusted_proxies else app
        super().__init__(_config(served, loop))
        self._app, self._plain, self._settings, self._tls = app, plain, settings, tls
        self._ports = (port, boot_port)
        self._listeners: list[Listener] = []
        self._tasks: list[asyncio.Task[None]] = []
        self.listens = self.interrupted = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then listen, then say that we are ready."""
        await super().startup([])
        port, boot_port = self._ports
        patience = self._settings.client_seconds
        seats = Seats(
            self._settings.connections, self._settings.connections_per_client, self._settings.trusted_proxies
        )
        if self._tls is None:
            self._listeners = [Listener(port, seats, self._connections(self.config), patience=patience)]
        else:
            plain = self._connections(_config(self._plain))
            secure = self._connections(self.config)
            self._listeners = [Listener(port, seats, plain, secure=secure, tls=self._tls, patience=patience)]
            self._tls.tell()
            self._in_background(self._look_at_certificate(self._tls))
        self._say_where(port, "the State API listens", "https" if self._tls else "http")
        if boot_port is not None and self._settings.boot_dir is not None:
            boot = boot_app(self._app, self._settings.boot_dir)
            connections = self._connections(_config(boot))
            self._listeners.append(Listener(boot_port, seats, connections, patience=patience))
            self._say_where(boot_port, f"boot files of {self._settings.boot_dir} are served", "http")
        if threading.current_thread() is threading.main_thread():
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self.reload)
        if (seconds := interval()) is not None:
            self._in_background(Watchdog(self._app.state.store.check, seconds).run())
        notify("READY=1")
        self.listens = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop, and end like a program that has done its work; a second Ctrl-C does not wait for requests."""
        self.force_exit = self.force_exit or (self.interrupted and sig == signal.SIGINT)
        self.interrupted = self.interrupted or sig == signal.SIGINT
        self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Look, each second, for clients that dawdle."""
        if counter % 10 == 0:
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                if isinstance(connection, Connection):
                    connection.sweep(now)
        return await super().on_tick(counter)

    def reload(self) -> None:
        """Take the certificate that is on disk now; connections that there are go on with theirs."""
        if self._tls is None:
            log.info("there is nothing to read again: the API serves plain HTTP")
            return
        notify_reloading()
        problem = ""
        try:
            self._tls.reload()
        except SettingsError as error:
            problem = str(error)
        if problem:
            log.error("%s. The certificate from before stays in force.", problem)
        self._tls.tell()
        notify("READY=1")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept nothing more, let requests end, end event streams."""
        notify("STOPPING=1")
        for task in self._tasks:
            task.cancel()
        for listener in self._listeners:
            listener.close()
        await super().shutdown([])

    def _connections(self, config: uvicorn.Config) -> Factory:
        if not config.loaded:
            config.load()
        make = partial(
            Connection,
            config,
            self.server_state,
            self.lifespan.state,
            patience=Patience(headers=self._settings.client_seconds),
            header_limit=self._settings.header_limit,
        )
        return lambda leave: make(on_lost=leave)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work))

    async def _look_at_certificate(self, tls: Tls) -> None:
        while True:
            await asyncio.sleep(_A_DAY)
            tls.tell()

    def _say_where(self, port: socket.socket, what: str, scheme: str) -> None:
        address, number = port.getsockname()[:2]
        log.info("%s on %s port %d (%s)", what, address, number, scheme)


def boot_app(app: FastAPI, boot_dir: Path) -> ASGIApp:
    """The application on the boot port, on the parts of `app`."""
    settings: Settings = app.state.settings
    booting = Booting(app.state.registry, app.state.store, SettingsFile(settings.boot_settings), boot_dir)
    boot = RequestLog(BootApp(BootFiles(boot_dir), booting, settings.rate, app.state.stream.wake_from_thread))
    return BehindProxy(boot, settings.trusted_proxies) if settings.trusted_proxies else boot


def _config(app: ASGIApp, loop: str = "uvloop") -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop=loop,
        http=Connection,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        lifespan="on",
        timeout_graceful_shutdown=GRACE,
    )
