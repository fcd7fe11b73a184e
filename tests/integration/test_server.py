# SPDX-License-Identifier: GPL-3.0-or-later
"""The State API's port with real sockets: TLS and plain HTTP side by side, slow clients, limits, stopping."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_network
from pathlib import Path

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

from kubestead.api.app import create_app
from kubestead.api.limits import RateLimit
from kubestead.api.middleware import BodyLimit, RequestLog
from kubestead.pki import ensure
from tests.integration.needs import require
from tests.integration.server_sample import Place, Served, served, started
from tests.unit.api_sample import free_port, until

LOOPS = ["uvloop", "asyncio"]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.make(tmp_path)


def small_app() -> FastAPI:
    """What the real application is to the server: paths that answer, stream, and fail."""
    app = FastAPI()

    @app.get("/who")
    def who(request: Request) -> dict[str, str | None]:
        return {"client": request.client and request.client.host, "scheme": request.url.scheme}

    @app.post("/echo")
    async def echo(request: Request) -> int:
        return len(await request.body())

    @app.get("/endless")
    def endless() -> StreamingResponse:
        async def events() -> AsyncIterator[str]:
            while True:
                yield "data: {}\n\n"
                await asyncio.sleep(0.05)

        return StreamingResponse(events(), media_type="text/event-stream")

    app.add_middleware(BodyLimit, limit=lambda _scope: 1000)
    app.add_middleware(RequestLog)
    return app


def connect_tls(port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    return context.wrap_socket(connect(port), server_hostname="localhost")


def connect(port: int, context: ssl.SSLContext | None = None) -> socket.socket:
    return connect_tls(port, context) if context else socket.create_connection(("127.0.0.1", port), 10)


def read_to_end(connection: socket.socket) -> bytes:
    received = b""
    while piece := connection.recv(65536):
        received += piece
    return received


def ask(connection: socket.socket, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send a request and read one answer with a length."""
    connection.sendall(request)
    stream = connection.makefile("rb")
    status = int(stream.readline().split()[1])
    headers = {}
    while line := stream.readline().strip():
        name, _, value = line.decode().partition(": ")
        headers[name] = value
    return status, headers, stream.read(int(headers["content-length"]))


GET = b"GET /who HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(params=LOOPS)
def with_tls(place: Place, request: pytest.FixtureRequest) -> Iterator[Served]:
    with served(small_app(), place.tls_settings(client_seconds=0.5), request.param) as running:
        yield running


def test_one_port_speaks_both(place: Place, with_tls: Served) -> None:
    with connect_tls(with_tls.port, place.trusting()) as connection:
        for _ in range(2):
            status, headers, body = ask(connection, GET)
            assert (status, json.loads(body)) == (200, {"client": "127.0.0.1", "scheme": "https"})
            assert headers["x-correlation-id"]
        assert connection.version() in ("TLSv1.2", "TLSv1.3")
    with connect(with_tls.port) as connection:
        status, headers, body = ask(connection, GET)
        assert (status, json.loads(body)) == (400, {"detail": "this port speaks TLS"})
        assert headers["x-correlation-id"]
        assert connection.recv(1) == b""


def test_old_tls_is_refused(place: Place, with_tls: Served) -> None:
    context = place.trusting()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with connect_tls(with_tls.port, context) as connection:
        assert connection.version() == "TLSv1.2"
    openssl = require("openssl", "openssl")
    done = subprocess.run(
        [openssl, "s_client", "-connect", f"127.0.0.1:{with_tls.port}", "-tls1_1"],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode != 0


@pytest.mark.parametrize("said", [b"", b"GET /who HT", GET[:-2], b"\x16\x03\x01"])
def test_who_says_nothing_or_half_is_closed(with_tls: Served, said: bytes) -> None:
    with connect(with_tls.port) as connection:
        connection.sendall(said)
        began = time.monotonic()
        assert b"HTTP/1.1 200" not in read_to_end(connection)
        assert time.monotonic() - began < 5


def test_half_a_request_within_tls_is_closed(place: Place, with_tls: Served) -> None:
    with connect(with_tls.port, place.trusting()) as connection:
        connection.sendall(GET[:-2])
        assert read_to_end(connection) == b""


def test_the_others_go_on_while_one_is_silent(place: Place, with_tls: Served) -> None:
    with connect(with_tls.port), connect(with_tls.port, place.trusting()) as connection:
        assert ask(connection, GET)[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        b"X: " + b"a" * 40_000 + b"\r\n\r\n",
        b"".join(b"X-%d: %s\r\n" % (number, b"a" * 100) for number in range(400)) + b"\r\n",
        b"X: " + b"a" * 2_000_000,  # without end
    ],
)
@pytest.mark.parametrize("tls", [False, True])
def test_headers_that_are_too_long(place: Place, headers: bytes, tls: bool) -> None:
    settings = place.tls_settings() if tls else place.settings()
    with (
        served(small_app(), settings) as running,
        connect(running.port, place.trusting() if tls else None) as connection,
    ):
        with suppress(OSError):  # it need not hear the rest
            connection.sendall(b"GET /who HTTP/1.1\r\nHost: x\r\n" + headers)
        answer = read_to_end(connection)
        assert answer.startswith(b"HTTP/1.1 431 ")
        assert b"x-correlation-id: " in answer
        assert b"at most 32768 bytes" in answer
        with connect(running.port, place.trusting() if tls else None) as next_one:
            assert ask(next_one, GET.replace(b"\r\n\r\n", b"\r\nX: " + b"a" * 30_000 + b"\r\n\r\n"))[0] == 200


@pytest.mark.parametrize("said", [b"\0\1\2\3\r\n\r\n", b"GET\r\n\r\n", b"CONNECT a:1 HTTP/1.1\r\n\r\n"])
def test_what_is_no_request_is_told_so(place: Place, said: bytes) -> None:
    with served(small_app(), place.settings()) as running, connect(running.port) as connection:
        connection.sendall(said)
        answer = read_to_end(connection)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert set(json.loads(answer.partition(b"\r\n\r\n")[2])) == {"detail"}


def test_a_long_body_is_refused_and_the_connection_goes_on(place: Place) -> None:
    post = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    with served(small_app(), place.settings()) as running, connect(running.port) as connection:
        status, _, body = ask(connection, post % 300_000 + b"a" * 300_000)
        assert (status, "at most 1000" in json.loads(body)["detail"]) == (413, True)
        assert ask(connection, GET)[0] == 200
        status, _, body = ask(connection, post % 4 + b"true")
        assert (status, body) == (200, b"4")


def test_requests_in_a_row_without_waiting(place: Place) -> None:
    with served(small_app(), place.settings()) as running, connect(running.port) as connection:
        connection.sendall(GET * 5)
        for _ in range(5):
            assert ask(connection, b"")[0] == 200


def test_too_many_requests(place: Place) -> None:
    app = small_app()
    app.add_middleware(
        RateLimit,
        rate=5,
        exempt=lambda scope: (b"authorization", b"Bearer operator") in scope["headers"],
    )
    with served(app, place.settings()) as running, connect(running.port) as connection:
        answers = [ask(connection, GET) for _ in range(30)]
        refused = [answer for answer in answers if answer[0] == 429]
        assert len(refused) >= 10
        assert {answer[0] for answer in answers} == {200, 429}
        assert int(refused[0][1]["retry-after"]) >= 1
        assert "at most 5 a second" in json.loads(refused[0][2])["detail"]
        operator = GET.replace(b"\r\n\r\n", b"\r\nAuthorization: Bearer operator\r\n\r\n")
        assert all(ask(connection, operator)[0] == 200 for _ in range(30))


def test_too_many_connections_of_one_client(place: Place) -> None:
    with served(small_app(), place.settings(connections_per_client=3)) as running:
        held = [connect(running.port) for _ in range(3)]
        for connection in held:
            assert ask(connection, GET)[0] == 200
        with connect(running.port) as further:
            assert read_to_end(further) == b""
        held.pop().close()

        def there_is_a_seat() -> bool:
            with connect(running.port) as further:
                try:
                    return ask(further, GET)[0] == 200
                except (OSError, IndexError):
                    return False

        until(there_is_a_seat)
        for connection in held:
            assert ask(connection, GET)[0] == 200
            connection.close()


def test_a_proxy_names_the_client_only_if_it_is_trusted(place: Place) -> None:
    forwarded = GET.replace(
        b"\r\n\r\n", b"\r\nX-Forwarded-For: 9.9.9.9, 10.1.2.3\r\nX-Forwarded-Proto: https\r\n\r\n"
    )
    with served(small_app(), place.settings()) as running, connect(running.port) as connection:
        assert json.loads(ask(connection, forwarded)[2]) == {"client": "127.0.0.1", "scheme": "http"}
    settings = place.settings(trusted_proxies=(ip_network("127.0.0.0/8"),))
    with served(small_app(), settings) as running, connect(running.port) as connection:
        assert json.loads(ask(connection, forwarded)[2]) == {"client": "10.1.2.3", "scheme": "https"}


@contextmanager
def stream_of(running: Served, place: Place, tls: bool) -> Iterator[socket.socket]:
    with connect(running.port, place.trusting() if tls else None) as connection:
        connection.sendall(GET.replace(b"/who", b"/endless"))
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
        yield connection


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("tls", [False, True])
def test_it_stops_with_streams_open(place: Place, loop: str, tls: bool) -> None:
    settings = place.tls_settings() if tls else place.settings()
    with (
        served(small_app(), settings, loop) as running,
        stream_of(running, place, tls) as stream,
        connect(running.port) as silent,
    ):
        began = time.monotonic()
        running.stop()
        assert read_to_end(stream).endswith(b"0\r\n\r\n")
        assert read_to_end(silent) == b""
    assert time.monotonic() - began < 5


def test_boot_files_are_there_and_nothing_else(place: Place) -> None:
    (place.boot / ".secret").write_text("x")
    (place.boot / "out").symlink_to(place.token)
    settings = place.settings(boot_dir=place.boot)
    with (
        served(create_app(settings), settings) as running,
        connect(running.boot_port) as connection,
    ):
        status, headers, body = ask(connection, b"GET /vmlinuz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (status, body) == (200, b"kernel")
        for path in (b"/who", b"/api/states", b"/.secret", b"/out", b"/../token", b"/%2e%2e/token", b"/"):
            status, headers, body = ask(connection, b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (status, set(json.loads(body))) == (404, {"detail"})
            assert headers["x-correlation-id"]


def served_certificate(port: int, place: Place) -> bytes:
    with connect_tls(port, place.trusting()) as connection:
        shown = connection.getpeercert(binary_form=True)
        assert shown is not None
        return shown


def test_plain_http_is_told_what_to_type(place: Place) -> None:
    with started(place, free_port(), *place.tls_arguments()) as program, connect(program.port) as connection:
        asked = b"GET /api/states HTTP/1.1\r\nHost: 10.0.0.10:8080\r\n\r\n"
        status, headers, body = ask(connection, asked)
        assert status == 400
        assert "https://10.0.0.10:8080/api/states" in json.loads(body)["detail"]
        assert headers["x-correlation-id"]


def test_reloading_takes_the_new_certificate_and_drops_nobody(place: Place) -> None:
    with started(place, free_port(), *place.tls_arguments()) as program:
        health = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
        with connect(program.port, place.trusting()) as lasting:
            assert ask(lasting, health)[0] == 200
            before = served_certificate(program.port, place)
            assert ensure(place.pki, ["localhost", "127.0.0.1", "pxe.example"]).actions
            os.kill(program.process.pid, signal.SIGHUP)
            until(lambda: served_certificate(program.port, place) != before)
            assert ask(lasting, health)[0] == 200
            assert program.has_told("RELOADING=1")
            # One that is broken is refused, and the one before stays.
            now = served_certificate(program.port, place)
            (place.pki / "server.crt").write_text("nonsense")
            os.kill(program.process.pid, signal.SIGHUP)
            until(lambda: "stays in force" in program.log.read_text())
            assert served_certificate(program.port, place) == now
            assert ask(lasting, health)[0] == 200
        until(lambda: program.has_told("READY=1", times=3))
        program.process.terminate()
        program.process.wait(20)
        assert program.has_told("STOPPING=1")


def test_the_watchdog_hears_from_it(place: Place) -> None:
    with started(place, free_port(), WATCHDOG_USEC="400000") as program:
        until(lambda: program.has_told("WATCHDOG=1", times=3))
        assert program.has_told("STATUS=all is well")


def test_openssl_trusts_what_it_shows(place: Place) -> None:
    openssl = require("openssl", "openssl")
    with served(small_app(), place.tls_settings()) as running:
        command = [openssl, "s_client", "-connect", f"127.0.0.1:{running.port}", "-verify_return_error"]
        command += ["-CAfile", str(place.pki / "ca.crt"), "-verify_hostname", "localhost"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert "Verify return code: 0 (ok)" in done.stdout
    assert done.returncode == 0


def test_files_that_do_not_fit_are_told_before_it_listens(place: Place) -> None:
    other = place.folder / "other"
    ensure(other, ["localhost"])
    arguments = ["--tls-certificate", str(place.pki / "server.crt"), "--tls-key", str(other / "server.key")]
    done = subprocess.run(
        place.arguments(free_port(), *arguments), capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert "cannot be used together" in done.stderr
    assert "Traceback" not in done.stderr
