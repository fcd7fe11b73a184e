# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines that boot, for tests/benchmarks/boot_storm.py: their packets are real, they themselves are not.

Each asks DHCP as its firmware does, fetches the boot loader by TFTP, asks DHCP again as iPXE does, and
fetches the boot script and, if it is to be installed, its answer file. Every client has an address of its
own. It sends again what is not answered, as firmware does, and gives up after a minute.

Reads from standard input, as JSON, the machines ({"mac", "ip"}) and what they are to do; prints JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
import sys
import time
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import uvloop

from kubestead.model.dhcp import Offer, Question, discover, read_offer

INTERFACE = "br0"
PATIENCE = 60.0
WAITS = (1.0, 2.0, 4.0, 8.0, 16.0, 29.0)  # until something is sent again
_IPV4, _HEADERS = 0x0800, 14 + 20 + 8
_REQUEST, _ACKNOWLEDGED, _OFFERED = b"\x35\x01\x03", b"\x35\x01\x05", b"\x35\x01\x02"
_READ, _DATA, _ACK, _FAILED, _OPTIONS = 1, 3, 4, 5, 6
_BLOCK = 1456

T = TypeVar("T")


@dataclass
class Network:
    """The wire: frames go out, answers come back to whoever has asked."""

    again: int = 0
    waiting: dict[bytes, asyncio.Queue[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_IPV4))
        self.raw.bind((INTERFACE, 0))
        self.raw.setblocking(False)
        asyncio.get_running_loop().add_reader(self.raw, self._read)

    def _read(self) -> None:
        for _ in range(256):
            try:
                frame = self.raw.recv(65535)
            except BlockingIOError:
                return
            if queue := self.waiting.get(frame[_HEADERS + 4 : _HEADERS + 8]):
                queue.put_nowait(frame)

    async def ask(self, frame: bytes, transaction: bytes) -> Offer:
        """Send a frame until an offer answers it, or an acknowledgement, which has the same form."""
        queue = self.waiting[transaction] = asyncio.Queue()
        for number, seconds in enumerate(WAITS):
            self.again += number > 0
            self.raw.send(frame)
            until = time.monotonic() + seconds
            while (left := until - time.monotonic()) > 0:
                try:
                    answer = await asyncio.wait_for(queue.get(), left)
                except TimeoutError:
                    break
                found = read_offer(answer.replace(_ACKNOWLEDGED, _OFFERED, 1), transaction)
                if found and found.address:
                    return found
        raise TimeoutError("DHCP does not answer")


def request(question: Question, transaction: bytes, offer: Offer) -> bytes:
    """The frame that takes an offer: what was asked first, with the address and its server."""
    message = discover(question, transaction)[_HEADERS:].rstrip(b"\0")[:-1]
    chosen = b"".join(
        bytes([code, 4]) + socket.inet_aton(value)
        for code, value in ((50, offer.address), (54, offer.server))
    )
    message = message.replace(b"\x35\x01\x01", _REQUEST, 1) + chosen + b"\xff"
    datagram = struct.pack("!HHHH", 68, 67, 8 + len(message), 0) + message
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(datagram), 1, 0, 64, 17, 0, bytes(4), b"\xff" * 4)
    total = sum(struct.unpack("!10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    header = header[:10] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + header[12:]
    card = bytes.fromhex(question.mac.replace(":", ""))
    return b"\xff" * 6 + card + struct.pack("!H", _IPV4) + header + datagram


class Tftp(asyncio.DatagramProtocol):
    """One file, block by block, as a network card fetches it."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.answers: asyncio.Queue[tuple[bytes, tuple[str, int]]] = asyncio.Queue()
        self.transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)  # uvloop's is no subclass

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.answers.put_nowait((data, addr))

    async def fetch(self, server: str, name: str) -> int:
        """Return the size of the file."""
        options = b"tsize\x000\x00blksize\x00%d\x00" % _BLOCK
        packet, to = struct.pack("!H", _READ) + name.encode() + b"\0octet\0" + options, (server, 69)
        expected, size = 0, 0
        while True:
            (kind, number, data), to = await self._exchange(packet, to, expected)
            if kind == _FAILED:
                raise OSError(f"{name} by TFTP: {data.rstrip(bytes(1)).decode(errors='replace')}")
            size, expected = size + len(data) * (kind == _DATA), expected + 1
            packet = struct.pack("!HH", _ACK, number if kind == _DATA else 0)
            if kind == _DATA and len(data) < _BLOCK:
                self.transport.sendto(packet, to)
                return size

    async def _exchange(
        self, packet: bytes, to: tuple[str, int], expected: int
    ) -> tuple[tuple[int, int, bytes], tuple[str, int]]:
        """Send until the block that is expected comes; what comes twice is left unanswered."""
        for number, seconds in enumerate(WAITS):
            self.network.again += number > 0
            self.transport.sendto(packet, to)
            until = time.monotonic() + seconds
            while (left := until - time.monotonic()) > 0:
                try:
                    data, sender = await asyncio.wait_for(self.answers.get(), left)
                except TimeoutError:
                    break
                kind, block = struct.unpack("!HH", data[:4])
                if (
                    kind == _FAILED
                    or (kind, block) == (_DATA, expected)
                    or (kind == _OPTIONS and not expected)
                ):
                    return (kind, block, data[4:]), sender
        raise TimeoutError("TFTP does not answer")


@dataclass
class Client:
    """One machine, with the seconds that each part of its boot took."""

    network: Network
    mac: str
    ip: str
    seconds: dict[str, float] = field(default_factory=dict)

    async def timed(self, name: str, work: Awaitable[T]) -> T:
        since = time.monotonic()
        done = await work
        self.seconds[name] = time.monotonic() - since
        return done

    async def boot(self, answer: str) -> str:
        """All of it; returns what went wrong."""
        since = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE):
                firmware = await self.timed("DHCP of the firmware", self.lease(Question(self.mac, 0)))
                await self.timed("boot loader by TFTP", self.fetch_loader(firmware))
                ipxe = await self.timed("DHCP of iPXE", self.lease(Question(self.mac, 0, user_class="iPXE")))
                await self.timed("boot script", self.fetch_script(ipxe.file))
                if answer:
                    server = ipxe.file.split("/")[2]
                    url = f"http://{server}/boot/answers/{self.mac}/{answer}"
                    await self.timed("answer file", self.get(url))
        except (OSError, TimeoutError, ValueError) as error:
            return f"{self.mac} {self.ip}: {error!r} after {', '.join(self.seconds) or 'nothing'}"
        self.seconds["all"] = time.monotonic() - since
        return ""

    async def lease(self, question: Question) -> Offer:
        transaction = os.urandom(4)
        offer = await self.network.ask(discover(question, transaction), transaction)
        transaction = os.urandom(4)
        lease = await self.network.ask(request(question, transaction, offer), transaction)
        if lease.address != self.ip:
            raise ValueError(f"it was given {lease.address or 'no address'}")
        return offer

    async def fetch_loader(self, offer: Offer) -> None:
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_datagram_endpoint(
            lambda: Tftp(self.network), local_addr=(self.ip, 0)
        )
        try:
            if await protocol.fetch(offer.next_server or offer.server, offer.file) < 10_000:
                raise ValueError(f"{offer.file} is no boot loader")
        finally:
            transport.close()

    async def fetch_script(self, url: str) -> None:
        entry = await self.get(url)
        if b"/boot/${net" not in entry:
            raise ValueError(f"{url} leads nowhere: {entry[:200]!r}")
        server = url.split("/")[2]
        said = "platform=pcbios&buildarch=x86_64&manufacturer=Storm&product=client"
        script = await self.get(f"http://{server}/boot/{self.mac.replace(':', '-')}.ipxe?{said}")
        if not script.startswith(b"#!ipxe") or b"does not answer" in script:
            raise ValueError(f"no boot script: {script[:200]!r}")

    async def get(self, url: str) -> bytes:
        host, _, path = url.removeprefix("http://").partition("/")
        reader, writer = await asyncio.open_connection(host, 80, local_addr=(self.ip, 0))
        try:
            writer.write(f"GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
        finally:
            writer.close()
        if b" 200 " not in head.partition(b"\r\n")[0]:
            raise ValueError(
                f"{url}: {head.partition(bytes([13]))[0].decode(errors='replace')}: {body[:200]!r}"
            )
        return body


async def storm(machines: list[dict[str, str]], at_once: bool, answer: str) -> dict[str, Any]:
    """Let them boot, all at once or one after the other; what it took."""
    network = Network()
    clients = [Client(network, one["mac"], one["ip"]) for one in machines]
    since = time.monotonic()
    if at_once:
        failures = await asyncio.gather(*(client.boot(answer) for client in clients))
    else:
        failures = [await client.boot(answer) for client in clients]
    return {
        "seconds": time.monotonic() - since,
        "failures": [text for text in failures if text],
        "sent_again": network.again,
        "clients": [client.seconds for client in clients],
    }


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    json.dump(uvloop.run(storm(asked["machines"], asked["at_once"], asked["answer"])), sys.stdout)
