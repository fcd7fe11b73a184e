# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One call without arguments to a gRPC service on a unix socket, with nothing but the standard library.

Enough of HTTP/2 (RFC 9113) and protobuf to ask a container runtime who it is and how it feels, on a machine
that has no crictl yet. Header compression is used in its plainest form only, and never has to be read.
"""

from __future__ import annotations

import socket
import struct
from typing import Iterator, NamedTuple

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
END_STREAM, ACK, END_HEADERS = 0x1, 0x1, 0x4
# A peer that sends more than this is not what we think it is.
MAX_FRAME = 1 << 22


class GrpcError(Exception):
    """The service did not answer as a service should."""


class Frame(NamedTuple):
    """One HTTP/2 frame."""

    kind: int
    flags: int
    stream: int
    payload: bytes


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame as it goes over the wire."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _text(value: str) -> bytes:
    raw = value.encode("ascii")
    if len(raw) > 126:
        raise ValueError("longer than the plain form of a header has room for")
    return bytes([len(raw)]) + raw


def header_block(path: str, authority: str = "localhost") -> bytes:
    """The request's headers, each as a literal that is not remembered (RFC 7541, 6.2.2)."""
    headers = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": authority,
        "content-type": "application/grpc",
        "te": "trailers",
    }
    return b"".join(b"\0" + _text(name) + _text(value) for name, value in headers.items())


def request(path: str, message: bytes = b"") -> bytes:
    """All that the client says for one call on stream 1."""
    body = struct.pack(">BI", 0, len(message)) + message
    return (
        PREFACE
        + frame(SETTINGS, 0, 0)
        + frame(HEADERS, END_HEADERS, 1, header_block(path))
        + frame(DATA, END_STREAM, 1, body)
    )


def _exactly(connection: socket.socket, length: int) -> bytes:
    parts = []
    while length:
        part = connection.recv(length)
        if not part:
            raise GrpcError("it hung up before it had answered")
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def frames(connection: socket.socket) -> Iterator[Frame]:
    """What the service sends, frame by frame."""
    while True:
        head = _exactly(connection, 9)
        length = int.from_bytes(head[:3], "big")
        if length > MAX_FRAME:
            raise GrpcError("what it sends is not HTTP/2")
        kind, flags, stream = struct.unpack(">BBI", head[3:])
        yield Frame(kind, flags, stream & 0x7FFFFFFF, _exactly(connection, length))


def call(socket_path: str, path: str, message: bytes = b"", timeout: float = 5.0) -> bytes:
    """The answer's message.

    :raises OSError: nobody listens there.
    :raises GrpcError: somebody does, but not that service.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        connection.connect(socket_path)
        connection.sendall(request(path, message))
        body = b""
        for got in frames(connection):
            if got.kind == SETTINGS and not got.flags & ACK:
                connection.sendall(frame(SETTINGS, ACK, 0))
            elif got.kind == PING and not got.flags & ACK:
                connection.sendall(frame(PING, ACK, 0, got.payload))
            elif got.kind == DATA and got.stream == 1:
                body += got.payload
            elif got.kind in (RST_STREAM, GOAWAY):
                raise GrpcError("it refused the call")
            if got.stream == 1 and got.kind in (DATA, HEADERS) and got.flags & END_STREAM:
                break
        if len(body) < 5:
            raise GrpcError(f"it does not serve {path.strip('/').partition('/')[0]}")
        return body[5 : 5 + struct.unpack(">I", body[1:5])[0]]


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def fields(raw: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a protobuf message: number and value (an integer, or the bytes of a text or message)."""
    at = 0
    while at < len(raw):
        key, at = _varint(raw, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(raw, at)
            yield key >> 3, value
        elif kind == 2:
            length, at = _varint(raw, at)
            yield key >> 3, raw[at : at + length]
            at += length
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            yield key >> 3, raw[at : at + size]
            at += size
        else:
            raise GrpcError("its answer is not a protobuf message")
