# SPDX-License-Identifier: GPL-3.0-or-later
"""A State API for tests: the application in this process, or the real program on a port of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from kubestead.api.app import create_app
from kubestead.api.settings import Settings
from kubestead.model.state_api_client import StateApiClient

BEARER = "a-token-that-is-long-enough"
CP = "52:54:00:77:00:11"
WORKER = "52:54:00:77:00:21"
REGISTRY: dict[str, Any] = {
    CP: {
        "hostname": "cp-1",
        "role": "control-plane",
        "architecture": "amd64",
        "features": ["kubernetes"],
        "ip": "10.77.0.11",
        "bmc": {"type": "redfish", "address": "10.77.1.11", "password_ref": "vault:cp-1"},
        "rack": "left",
        "notes": {"root_password": "do not tell", "shelf": 3},
    },
    WORKER: {"hostname": "worker-1", "role": "worker", "architecture": "arm64"},
}


@dataclass(frozen=True)
class Files:
    """What an API is started on."""

    token: Path
    database: Path
    registry: Path

    @classmethod
    def make(cls, folder: Path) -> Files:
        """Write the token and the registry."""
        files = cls(folder / "token", folder / "machines.db", folder / "registry.json")
        files.token.touch(mode=0o600)
        files.token.write_text(BEARER + "\n")
        files.registry.write_text(json.dumps(REGISTRY))
        return files

    def settings(self, **more: Any) -> Settings:
        """What the API in this process is told."""
        return Settings(token_file=self.token, database=self.database, registry=self.registry, **more)

    def arguments(self, port: int) -> list[str]:
        """The command that starts the API."""
        command = [sys.executable, "-m", "kubestead.api", "--bind", "127.0.0.1", "--port", str(port)]
        command += ["--token-file", str(self.token), "--database", str(self.database)]
        return [*command, "--registry", str(self.registry)]


def bearer(token: str) -> dict[str, str]:
    """The header that shows a token."""
    return {"Authorization": f"Bearer {token}"}


@contextmanager
def serving(files: Files, **settings: Any) -> Iterator[TestClient]:
    """The application in this process, asked with the token of the token file."""
    app = create_app(files.settings(**settings))
    with TestClient(app, headers=bearer(BEARER), raise_server_exceptions=False) as client:
        yield client


@dataclass
class Running:
    """The program, running."""

    url: str
    process: subprocess.Popen[str]
    log: Path

    def client(self) -> StateApiClient:
        """A client with the token."""
        return StateApiClient(self.url, BEARER)

    def lines(self) -> list[dict[str, Any]]:
        """What it has logged."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@contextmanager
def running(files: Files, *more: str, wrapper: Sequence[str] = ()) -> Iterator[Running]:
    """Start the program, wait for its readiness, stop it at the end.

    more: further arguments; wrapper: a command that runs it.
    """
    folder = files.token.parent
    log, ready = folder / "log", folder / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifications, log.open("a") as stream:
        ready.unlink(missing_ok=True)
        notifications.bind(str(ready))
        notifications.settimeout(120)
        port = free_port()
        process = subprocess.Popen(
            [*wrapper, *files.arguments(port), *more],
            stderr=stream,
            text=True,
            env={**os.environ, "NOTIFY_SOCKET": str(ready)},
        )
        try:
            assert notifications.recv(100) == b"READY=1", "the program says that it is ready"
            yield Running(f"http://127.0.0.1:{port}", process, log)
        finally:
            process.terminate()
            process.wait(20)


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def until(condition: Any, seconds: float = 10) -> None:
    """Wait until `condition()` is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it has not come true in time"
        time.sleep(0.05)
