# SPDX-License-Identifier: GPL-3.0-or-later
"""A port: its connections, and for each of them whether it is TLS or plain HTTP.

uvicorn accepts on a port of one kind. On ours a client that types http:// where it should be https:// gets a
sentence instead of a broken connection; so the first byte is looked at, not taken, before uvicorn's protocol
gets the socket.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable
from functools import partial

from .limits import Seats
from .logs import Sparing
from .tls import Tls

log = logging.getLogger(__name__)

#: Makes the protocol for a connection; the argument is to be called when it has ended.
Factory = Callable[[Callable[[], None]], asyncio.Protocol]

_HANDSHAKE = 0x16  # the first byte of a TLS ClientHello, and of no HTTP request
_AT_ONCE = 128  # connections accepted before others have their turn
_OUT_OF_FILES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class Listener:
    """Accepts the connections of one socket, while there are seats for them."""

    def __init__(
        self,
        listening: socket.socket,
        seats: Seats,
        plain: Factory,
        *,
        secure: Factory | None = None,
        tls: Tls | None = None,
        patience: float = 10.0,
    ) -> None:
        """Serve plain HTTP by `plain` and TLS by `secure`; without `tls` all is plain HTTP.

        A client has `patience` seconds to send its first byte, and as many for the TLS handshake.
        """
        self._socket, self._seats = listening, seats
        self._plain, self._secure, self._tls = plain, secure or plain, tls
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._resume: asyncio.TimerHandle | None = None
        self._full, self._failed = Sparing(0.1, 5), Sparing(0.1, 5)
        self._socket.setblocking(False)
        self._loop.add_reader(self._socket, self._accept)

    def close(self) -> None:
        """Accept nothing more, and end what has not got as far as a request."""
        self._loop.remove_reader(self._socket)
        if self._resume:
            self._resume.cancel()
        self._socket.close()
        for task in self._tasks:
            task.cancel()

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                connection, address = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _OUT_OF_FILES:
                    raise
                log.warning("no connection can be accepted for a second: %s", error)
                self._loop.remove_reader(self._socket)
                self._resume = self._loop.call_later(1, self._loop.add_reader, self._socket, self._accept)
                return
            leave = self._seats.take(address[0])
            if leave is None:
                connection.close()
                if self._full.worth_a_line():
                    log.warning("too many connections: one from %s was closed", address[0])
                continue
            connection.setblocking(False)
            task = self._loop.create_task(self._welcome(connection, address[0], leave))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _welcome(self, connection: socket.socket, address: str, leave: Callable[[], None]) -> None:
        """Give the connection to the protocol that fits what the client speaks."""
        handed_over = False
        try:
            _detect_dead_peers(connection)
            factory, context = self._plain, None
            if self._tls is not None:
                async with asyncio.timeout(self._patience):
                    first = await self._first_byte(connection)
                if not first:
                    return
                if first[0] == _HANDSHAKE:
                    factory, context = self._secure, self._tls.context
            await self._loop.connect_accepted_socket(
                partial(factory, leave),
                connection,
                ssl=context,
                ssl_handshake_timeout=self._patience if context else None,
                ssl_shutdown_timeout=5 if context else None,
            )
            handed_over = True
        except ssl.SSLError as error:
            if self._failed.worth_a_line():
                log.warning("no TLS with %s: %s%s", address, error.reason or error, _why(error))
        except OSError as error:  # gone again, or silent for too long
            log.debug("the connection from %s came to nothing: %s", address, error)
        finally:
            if not handed_over:
                leave()
                connection.close()

    async def _first_byte(self, connection: socket.socket) -> bytes:
        """What the client will say first, which stays there to be read; nothing if it has gone."""
        while True:
            try:
                return connection.recv(1, socket.MSG_PEEK)
            except (BlockingIOError, InterruptedError):
                await self._readable(connection)

    async def _readable(self, connection: socket.socket) -> None:
        readable = asyncio.Event()
        self._loop.add_reader(connection, readable.set)
        try:
            await readable.wait()
        finally:
            self._loop.remove_reader(connection)


def _detect_dead_peers(connection: socket.socket) -> None:
    """Let the kernel notice a peer that was switched off: it sends no farewell."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, seconds in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), seconds)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 60_000)


def _why(error: ssl.SSLError) -> str:
    if error.reason and "UNKNOWN_CA" in error.reason:
        return "; it does not trust the CA of this API: give it ca.crt"
    return ""
