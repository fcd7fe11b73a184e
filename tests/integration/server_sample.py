# SPDX-License-Identifier: GPL-3.0-or-later
"""A State API's server for tests: in this process on a thread of its own, or the real program."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from kubestead.api.errors import problem
from kubestead.api.middleware import RequestLog
from kubestead.api.server import StateServer, listen
from kubestead.api.settings import Settings
from kubestead.api.tls import Tls
from kubestead.pki import ensure
from tests.unit.api_sample import BEARER, until


@dataclass(frozen=True)
class Place:
    """A folder with all that a State API is started on."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> Place:
        """Write token, registry, certificates and a boot file."""
        place = cls(folder)
        place.token.touch(mode=0o600)
        place.token.write_text(BEARER)
        (folder / "registry.json").write_text("{}")
        place.boot.mkdir()
        (place.boot / "vmlinuz").write_bytes(b"kernel")
        ensure(place.pki, ["localhost", "127.0.0.1"])
        return place

    @property
    def token(self) -> Path:
        """The file with the token."""
        return self.folder / "token"

    @property
    def boot(self) -> Path:
        """The folder of boot files."""
        return self.folder / "boot"

    @property
    def pki(self) -> Path:
        """The folder of the certificates."""
        return self.folder / "pki"

    def settings(self, **others: Any) -> Settings:
        """Settings for a server in this process."""
        return Settings(
            token_file=self.token,
            database=self.folder / "machines.db",
            registry=self.folder / "registry.json",
            **others,
        )

    def tls_settings(self, **others: Any) -> Settings:
        """The same with TLS."""
        return self.settings(
            tls_certificate=self.pki / "server.crt", tls_key=self.pki / "server.key", **others
        )

    def trusting(self) -> ssl.SSLContext:
        """What a client needs that trusts the CA."""
        return ssl.create_default_context(cafile=str(self.pki / "ca.crt"))

    def arguments(self, port: int, *more: str) -> list[str]:
        """The command that starts the program."""
        command = [
            sys.executable,
            "-m",
            "kubestead.api",
            "--port",
            str(port),
            "--token-file",
            str(self.token),
        ]
        command += ["--database", str(self.folder / "machines.db")]
        command += ["--registry", str(self.folder / "registry.json")]
        return [*command, *more]

    def tls_arguments(self) -> list[str]:
        """What makes it speak TLS."""
        return [
            "--tls-certificate",
            str(self.pki / "server.crt"),
            "--tls-key",
            str(self.pki / "server.key"),
        ]


@dataclass
class Served:
    """A server in this process."""

    port: int
    boot_port: int
    server: StateServer

    def stop(self) -> None:
        """Ask it to stop, as SIGTERM does."""
        self.server.should_exit = True


@contextmanager
def served(app: FastAPI, settings: Settings, loop: str = "uvloop") -> Iterator[Served]:
    """Run a server until the end of the block; plain HTTP where TLS is spoken gets a 400."""
    port, boot_port = listen("127.0.0.1", 0), listen("127.0.0.1", 0)
    numbers = port.getsockname()[1], boot_port.getsockname()[1]
    plain = RequestLog(problem(400, "this port speaks TLS", {"Connection": "close"}))
    server = StateServer(app, settings, port, boot_port, Tls.of(settings), plain=plain, loop=loop)
    thread = threading.Thread(target=server.run, name="server")
    thread.start()
    try:
        until(lambda: server.listens or not thread.is_alive())
        assert thread.is_alive(), "the server starts"
        yield Served(*numbers, server)
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive(), "the server stops when it is told to"


@dataclass
class Program:
    """The real program, running, and what it has told systemd."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    told: list[str] = field(default_factory=list)

    def has_told(self, what: str, times: int = 1) -> bool:
        """Whether systemd has heard `what` so often."""
        return sum(what in each.split("\n") for each in self.told) >= times


@contextmanager
def started(place: Place, port: int, *arguments: str, **environment: str) -> Iterator[Program]:
    """Start the program, wait for its readiness, end it with the block."""
    with program(place.arguments(port, *arguments), place.folder, port, environment) as running:
        until(lambda: running.has_told("READY=1") or running.process.poll() is not None, seconds=60)
        assert running.process.poll() is None, running.log.read_text()
        yield running


@contextmanager
def program(
    command: Sequence[str], folder: Path, port: int, environment: dict[str, str]
) -> Iterator[Program]:
    """Start a program that talks to systemd."""
    address, log = folder / "notify", folder / "log"
    address.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifications, log.open("ab") as stream:
        notifications.bind(str(address))
        process = subprocess.Popen(
            command, stderr=stream, env={**os.environ, "NOTIFY_SOCKET": str(address), **environment}
        )
        running = Program(process, port, log)

        def listen_to_it() -> None:
            while (message := notifications.recv(4096)) != b"end":
                running.told.append(message.decode())

        listener = threading.Thread(target=listen_to_it)
        listener.start()
        try:
            yield running
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait(20)
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
                end.sendto(b"end", str(address))
            listener.join()
