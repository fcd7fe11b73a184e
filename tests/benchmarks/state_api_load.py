# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines and viewers for tests/benchmarks/state_api.py, in a process of their own and as cheap as can be.

`machines`: connections that report again and again, at a pace or as fast as they are answered.
`viewers`: event streams that read and forget, until standard input ends. Both print JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import sys
from collections import Counter
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, cast

import uvloop

WARMING = 3.0
_DROPPED = bytearray(1 << 20)
REQUEST = (
    "POST /api/state HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
    "Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
)


def requests_of(mac: str, token: str) -> list[bytes]:
    """The reports that a machine sends in turn."""
    made = []
    for progress in range(0, 100, 5):
        body = json.dumps(
            {
                "mac": mac,
                "state": "provisioning",
                "phase": "prepare",
                "progress": progress,
                "message": "packages",
            }
        )
        made.append(REQUEST.format(token=token, length=len(body), body=body).encode())
    return made


class Counts:
    """What all connections have seen."""

    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.errors: list[str] = []
        self.warm = False


class Reporter(asyncio.Protocol):
    """One machine: sends a report, waits for the answer, sends the next."""

    def __init__(self, requests: list[bytes], counts: Counts, pace: float, offset: float) -> None:
        self._requests, self._counts, self._pace = requests, counts, pace
        self._loop = asyncio.get_running_loop()
        self._next = self._loop.time() + offset
        self._turn, self._sent, self._received = 0, 0.0, b""
        self.stopped = False
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._loop.call_at(self._next, self._send)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator or len(body) < int(head.partition(b"content-length: ")[2].partition(b"\r")[0]):
            return
        self._received = b""
        now = self._loop.time()
        if self._counts.warm:
            # Of a paced machine, from when it was to send: a late start counts as waiting.
            self._counts.latencies.append(now - (self._next if self._pace else self._sent))
        if not head.startswith(b"HTTP/1.1 200"):
            self._counts.errors.append((head[:40] + body).decode(errors="replace"))
        if self.stopped:
            self._transport.close()
        elif self._pace:
            self._next += self._pace
            self._loop.call_at(self._next, self._send)
        else:
            self._send()

    def connection_lost(self, _error: Exception | None) -> None:
        if not self.stopped:
            self._counts.errors.append("the connection was lost")

    def _send(self) -> None:
        if self.stopped:
            self._transport.close()
            return
        self._sent = self._loop.time()
        self._transport.write(self._requests[self._turn % len(self._requests)])
        self._turn += 1


async def machines(port: int, tokens: dict[str, str], seconds: float, pace: float) -> dict[str, Any]:
    """Report for so many seconds; what comes before, while every token is new, does not count."""
    counts, loop = Counts(), asyncio.get_running_loop()
    reporters = []
    for number, (mac, token) in enumerate(tokens.items()):
        offset = 1 + pace * number / len(tokens)
        make = partial(Reporter, requests_of(mac, token), counts, pace, offset)
        _transport, reporter = await loop.create_connection(make, "127.0.0.1", port)
        reporters.append(reporter)
    await asyncio.sleep(WARMING)
    counts.warm, began = True, loop.time()
    await asyncio.sleep(seconds)
    latencies, took = sorted(counts.latencies), loop.time() - began
    for reporter in reporters:
        reporter.stopped = True
    await asyncio.sleep(0.5)
    return {
        "answered": len(latencies),
        "a_second": len(latencies) / took,
        "errors": len(counts.errors),
        "first_error": counts.errors[0] if counts.errors else None,
        "p50_ms": 1000 * latencies[len(latencies) // 2],
        "p99_ms": 1000 * latencies[len(latencies) * 99 // 100],
        "max_ms": 1000 * latencies[-1],
    }


class Viewer:
    """One event stream. What comes is counted and dropped in the kernel: in life viewers are elsewhere."""

    def __init__(self, connection: socket.socket, totals: Counter[str], reads: bool) -> None:
        """Read from `connection`; one that `reads` looks at what comes, and counts the frames."""
        self._connection, self._totals, self._reads = connection, totals, reads
        self._loop = asyncio.get_running_loop()
        self.begun = asyncio.Event()

    async def begin(self, request: bytes) -> None:
        """Ask for the stream, and wait until it has begun."""
        await self._loop.sock_sendall(self._connection, request)
        self._loop.add_reader(self._connection, self._readable)
        await self.begun.wait()

    def _readable(self) -> None:
        if self._reads or not self.begun.is_set():
            data = self._connection.recv(len(_DROPPED))
            received = len(data)
            self._totals["frames"] += data.count(b"event: ") if self._reads else 0
            if not self.begun.is_set():
                self._totals["refused"] += not data.startswith(b"HTTP/1.1 200")
                self.begun.set()
        else:
            received = self._connection.recv_into(_DROPPED, len(_DROPPED), socket.MSG_TRUNC)
        self._totals["bytes"] += received
        if not received:
            self._totals["lost"] += 1
            self._loop.remove_reader(self._connection)


async def viewers(port: int, count: int, token: str) -> dict[str, int]:
    """Look on until standard input ends."""
    totals = Counter(bytes=0, frames=0, refused=0, lost=0)
    request = f"GET /api/stream HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
    packed = "Accept-Encoding: gzip\r\n"  # as browsers do; not the one whose frames are counted
    with ExitStack() as open_ones:
        for number in range(count):
            connection = open_ones.enter_context(socket.create_connection(("127.0.0.1", port)))
            connection.setblocking(False)
            asked = f"{request}{packed if number else ''}\r\n".encode()
            await Viewer(connection, totals, reads=number == 0).begin(asked)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        return dict(totals)


def main() -> None:
    """Do one of the two."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["machines", "viewers"])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument(
        "--tokens", type=Path, required=True, help="JSON: {mac: token}; of a viewer the first"
    )
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--pace", type=float, default=0, help="seconds between two reports; 0: none")
    options = parser.parse_args()
    tokens: dict[str, str] = json.loads(options.tokens.read_text())
    if options.what == "machines":
        chosen = dict(list(tokens.items())[: options.count])
        print(json.dumps(uvloop.run(machines(options.port, chosen, options.seconds, options.pace))))
    else:
        print(json.dumps(uvloop.run(viewers(options.port, options.count, next(iter(tokens.values()))))))


if __name__ == "__main__":
    main()
