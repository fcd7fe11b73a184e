# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking as firmware asks: a DHCPDISCOVER in an Ethernet frame, and what the servers offer."""

from __future__ import annotations

import ipaddress
import os
import select
import socket
import struct
import time
import typing as t
from dataclasses import asdict, dataclass
from pathlib import Path

_COOKIE = b"\x63\x82\x53\x63"
_BROADCAST = b"\xff" * 6
_IPV4, _UDP = 0x0800, 17
_SERVER_PORT, _CLIENT_PORT = 67, 68
_REQUEST, _REPLY = 1, 2
_ANSWER_TO_EVERYONE = 0x8000
_DISCOVER, _OFFER = 1, 2

# Options by their numbers (RFC 2132, 3004, 4578).
_MASK, _ROUTER, _DNS, _HOSTNAME, _DOMAIN = 1, 3, 6, 12, 15
_LEASE, _OVERLOAD, _TYPE, _SERVER, _WANTED, _LARGEST = 51, 52, 53, 54, 55, 57
_VENDOR_CLASS, _TFTP_SERVER, _BOOT_FILE, _USER_CLASS = 60, 66, 67, 77
_ARCHITECTURE, _INTERFACE, _UUID, _IPXE = 93, 94, 97, 175
_ASKED_FOR = bytes(
    [_MASK, _ROUTER, _DNS, _HOSTNAME, _DOMAIN, 43, _LEASE, _SERVER, _VENDOR_CLASS, _TFTP_SERVER, _BOOT_FILE]
)
_PAD, _END = 0, 255


@dataclass(frozen=True)
class Question:
    """Who asks: a network card, and what its firmware says of itself."""

    mac: str
    arch: t.Optional[int] = None
    vendor_class: str = ""
    user_class: str = ""

    def said_vendor_class(self) -> str:
        """The vendor class; firmware that names its architecture is a PXE client if nothing else is said."""
        if self.arch is None or self.vendor_class not in ("", "PXEClient", "HTTPClient"):
            return self.vendor_class
        return f"{self.vendor_class or 'PXEClient'}:Arch:{self.arch:05d}:UNDI:003001"


@dataclass(frozen=True)
class Offer:
    """What a server offers."""

    server: str  # the address that it calls its own
    sender: str  # the address that the answer came from
    sender_mac: str
    address: str  # empty: it offers no address, as a proxyDHCP server does
    next_server: str
    server_name: str
    file: str
    vendor_class: str
    hostname: str
    domain: str
    netmask: str
    routers: t.Tuple[str, ...]
    dns: t.Tuple[str, ...]
    lease_seconds: t.Optional[int]
    milliseconds: int

    def to_dict(self) -> t.Dict[str, t.Any]:
        """For a module's result."""
        return {**asdict(self), "routers": list(self.routers), "dns": list(self.dns)}


def _bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def discover(question: Question, transaction: bytes) -> bytes:
    """The frame that asks."""
    card = _bytes(question.mac)
    options = [(_TYPE, bytes([_DISCOVER])), (_WANTED, _ASKED_FOR), (_LARGEST, struct.pack("!H", 1472))]
    if question.arch is not None:
        options += [
            (_ARCHITECTURE, struct.pack("!H", question.arch)),
            (_INTERFACE, b"\x01\x03\x01"),
            (_UUID, b"\0" + card + bytes(10)),
        ]
    if question.said_vendor_class():
        options.append((_VENDOR_CLASS, question.said_vendor_class().encode()))
    if question.user_class:
        options.append((_USER_CLASS, question.user_class.encode()))
    if question.user_class == "iPXE":
        options.append((_IPXE, b"\x13\x01\x01"))  # one of its features: it speaks HTTP
    message = struct.pack(
        "!BBBB4sHH16x16s64x128x4s", _REQUEST, 1, 6, 0, transaction, 0, _ANSWER_TO_EVERYONE, card, _COOKIE
    )
    message += b"".join(bytes([code, len(value)]) + value for code, value in options) + bytes([_END])
    message += bytes(max(0, 300 - len(message)))  # the least that BOOTP relays take
    datagram = struct.pack("!HHHH", _CLIENT_PORT, _SERVER_PORT, 8 + len(message), 0) + message
    header = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(datagram), 1, 0, 64, _UDP, 0, bytes(4), b"\xff" * 4
    )
    header = header[:10] + struct.pack("!H", _checksum(header)) + header[12:]
    return _BROADCAST + card + struct.pack("!H", _IPV4) + header + datagram


def _options(data: bytes) -> t.Dict[int, bytes]:
    found: t.Dict[int, bytes] = {}
    at = 0
    while at < len(data) and data[at] != _END:
        if data[at] == _PAD:
            at += 1
            continue
        length = data[at + 1] if at + 1 < len(data) else 0
        found[data[at]] = found.get(data[at], b"") + data[at + 2 : at + 2 + length]
        at += 2 + length
    return found


def _address(data: bytes) -> str:
    return str(ipaddress.IPv4Address(data[:4])) if len(data) >= 4 and any(data[:4]) else ""


def _addresses(data: bytes) -> t.Tuple[str, ...]:
    return tuple(_address(data[at : at + 4]) for at in range(0, len(data) - 3, 4))


def _text(data: bytes) -> str:
    return data.split(b"\0")[0].decode("utf-8", "replace")


def read_offer(frame: bytes, transaction: bytes, milliseconds: int = 0) -> t.Optional[Offer]:
    """The offer in a frame, if it is one that answers `transaction`."""
    if len(frame) < 34 or struct.unpack("!H", frame[12:14])[0] != _IPV4 or frame[23] != _UDP:
        return None
    datagram = frame[14 + (frame[14] & 15) * 4 :]
    if len(datagram) < 8 or struct.unpack("!H", datagram[2:4])[0] != _CLIENT_PORT:
        return None
    message = datagram[8:]
    if (
        len(message) < 240
        or message[0] != _REPLY
        or message[4:8] != transaction
        or message[236:240] != _COOKIE
    ):
        return None
    options = _options(message[240:])
    if options.get(_TYPE) != bytes([_OFFER]):
        return None
    name, file = message[44:108], message[108:236]
    overload = (options.get(_OVERLOAD) or b"\0")[0]
    for bit, place in ((1, file), (2, name)):
        if overload & bit:
            options = {**_options(place), **options}
    name, file = (b"" if overload & 2 else name), (b"" if overload & 1 else file)
    lease = options.get(_LEASE, b"")
    sender = _address(frame[26:30])
    return Offer(
        server=_address(options.get(_SERVER, b"")) or sender,
        sender=sender,
        sender_mac=":".join(f"{byte:02x}" for byte in frame[6:12]),
        address=_address(message[16:20]),
        next_server=_address(message[20:24]),
        server_name=_text(name) or _text(options.get(_TFTP_SERVER, b"")),
        file=_text(file) or _text(options.get(_BOOT_FILE, b"")),
        vendor_class=_text(options.get(_VENDOR_CLASS, b"")),
        hostname=_text(options.get(_HOSTNAME, b"")),
        domain=_text(options.get(_DOMAIN, b"")),
        netmask=_address(options.get(_MASK, b"")),
        routers=_addresses(options.get(_ROUTER, b"")),
        dns=_addresses(options.get(_DNS, b"")),
        lease_seconds=struct.unpack("!I", lease)[0] if len(lease) == 4 else None,
        milliseconds=milliseconds,
    )


def mac_of(interface: str) -> str:
    """The hardware address of a network interface; FileNotFoundError if there is none of that name."""
    return Path("/sys/class/net", interface, "address").read_text(encoding="ascii").strip()


def ask(
    interface: str, questions: t.Sequence[Question], timeout: float, enough: int = 0, server: str = ""
) -> t.List[t.List[Offer]]:
    """Ask all at once, each again every second until `enough` servers have answered it.

    Ends when that is so of all of them, or after `timeout` seconds; with 0 of `enough` always then. With
    `server` only what the server with that address offers counts. Returns the offers to each question, in
    the order of the questions.
    """
    asked = {os.urandom(4): question for question in questions}
    offers: t.Dict[bytes, t.Dict[t.Tuple[str, str], Offer]] = {transaction: {} for transaction in asked}
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_IPV4)) as raw:
        raw.bind((interface, 0))
        start = time.monotonic()
        again = start
        while (now := time.monotonic()) < start + timeout:
            waiting = [one for one, found in offers.items() if not enough or len(found) < enough]
            if not waiting:
                break
            if now >= again:
                for transaction in waiting:
                    raw.send(discover(asked[transaction], transaction))
                again = now + 1.0
            if not select.select([raw], [], [], max(0.0, min(again, start + timeout) - now))[0]:
                continue
            frame = raw.recv(65535)
            milliseconds = round((time.monotonic() - start) * 1000)
            for transaction in waiting:
                offer = read_offer(frame, transaction, milliseconds)
                if offer is not None and server in ("", offer.server):
                    offers[transaction].setdefault((offer.server, offer.sender_mac), offer)
    return [list(found.values()) for found in offers.values()]
