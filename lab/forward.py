# SPDX-License-Identifier: GPL-3.0-or-later
"""Ports of this computer's loopback that lead to a node."""

from __future__ import annotations

import contextlib
import socket
import socketserver
from typing import Any

from lab import network
from lab.proxy import relay


class Forward(socketserver.ThreadingTCPServer):
    """Passes connections to 127.0.0.1 on to an address in a lab's network."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int, namespace: str, target: tuple[str, int]) -> None:
        self.namespace = namespace
        self.target = target
        super().__init__(("127.0.0.1", port), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A node that is not there yet closes the connection; that says enough."""


class _Handler(socketserver.BaseRequestHandler):
    server: Forward

    def handle(self) -> None:
        target = self.server.target
        with contextlib.suppress(OSError):
            inside = network.inside(
                self.server.namespace, lambda: socket.create_connection(target, timeout=10)
            )
            with inside:
                relay(self.request, inside)
