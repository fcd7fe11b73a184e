# SPDX-License-Identifier: GPL-3.0-or-later
"""The call to a container runtime, against a peer that speaks the protocol on a real socket."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubestead.model import cri, grpc_unary
from kubestead.model.grpc_unary import DATA, END_STREAM, HEADERS, PREFACE, SETTINGS, GrpcError, frame


def text(number: int, value: str | bytes) -> bytes:
    """A protobuf field with a text or a message, shorter than 128 bytes."""
    raw = value.encode() if isinstance(value, str) else value
    return bytes([number << 3 | 2, len(raw)]) + raw


VERSION = text(1, "0.1.0") + text(2, "containerd") + text(3, "1.7.24") + text(4, "v1")
READY = text(1, "RuntimeReady") + b"\x10\x01"
NO_NETWORK = (
    text(1, "NetworkReady") + text(3, "NetworkPluginNotReady") + text(4, "cni plugin not initialized")
)
STATUS = text(1, text(1, READY) + text(1, NO_NETWORK))


def serve(listener: socket.socket, answers: dict[bytes, bytes | None]) -> None:
    """Answer each call by the path that is in its headers; None answers without a message."""
    while True:
        try:
            connection, _address = listener.accept()
        except OSError:
            return
        with connection:
            assert grpc_unary._exactly(connection, len(PREFACE)) == PREFACE
            connection.sendall(frame(SETTINGS, 0, 0) + frame(grpc_unary.PING, 0, 0, b"12345678"))
            message: bytes | None = None
            for got in grpc_unary.frames(connection):
                if got.kind == HEADERS:
                    message = next(answer for path, answer in answers.items() if path in got.payload)
                if got.kind == DATA and got.flags & END_STREAM:
                    break
            connection.sendall(frame(HEADERS, 0x4, 1, b"\x88"))
            if message is not None:
                body = struct.pack(">BI", 0, len(message)) + message
                connection.sendall(frame(DATA, 0, 1, body[:7]) + frame(DATA, 0, 1, body[7:]))
            connection.sendall(frame(HEADERS, 0x4 | END_STREAM, 1, b"\x88"))
            # As a server does: it lets the client read before it hangs up.
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where the socket goes."""
    return str(tmp_path / "cri.sock")


@pytest.fixture
def listener(path: str) -> Iterator[socket.socket]:
    """A socket that is listened to."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        yield server


def test_a_runtime_tells_who_it_is(path: str, listener: socket.socket) -> None:
    answers: dict[bytes, bytes | None] = {
        b"RuntimeService/Version": VERSION,
        b"RuntimeService/Status": STATUS,
    }
    threading.Thread(target=serve, args=(listener, answers), daemon=True).start()
    runtime = cri.ask(path)
    assert (runtime.name, runtime.version, runtime.api_version) == ("containerd", "1.7.24", "v1")
    assert runtime.ready
    assert runtime.conditions == {"RuntimeReady": True, "NetworkReady": False}
    assert runtime.reasons == {"NetworkReady": "cni plugin not initialized"}


def test_a_service_without_cri_is_named(path: str, listener: socket.socket) -> None:
    threading.Thread(target=serve, args=(listener, {b"Version": None}), daemon=True).start()
    with pytest.raises(GrpcError, match=r"does not serve runtime\.v1\.RuntimeService"):
        cri.ask(path)


def test_something_else_at_the_socket(path: str, listener: socket.socket) -> None:
    def hang_up() -> None:
        connection, _address = listener.accept()
        connection.recv(4096)
        connection.close()

    threading.Thread(target=hang_up, daemon=True).start()
    with pytest.raises((GrpcError, OSError)):
        cri.ask(path)


def test_no_socket(path: str) -> None:
    with pytest.raises(FileNotFoundError):
        cri.ask(path)
