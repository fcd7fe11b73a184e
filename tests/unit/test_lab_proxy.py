# SPDX-License-Identifier: GPL-3.0-or-later
"""The proxy of the nodes: keeps what cannot change, passes on the rest, leads to no secret place."""

from __future__ import annotations

import os
import socket
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from lab.process import wait_until
from lab.proxy import Proxy, cacheable

BODY = b"x" * 300_000


class Origin(BaseHTTPRequestHandler):
    """A small archive."""

    seen: ClassVar[Counter[str]] = Counter()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        Origin.seen[self.path] += 1
        if "missing" in self.path:
            self.send_error(404, "not here")
            return
        if self.headers.get("If-Modified-Since"):
            self.send_response(304)
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY) + (1 if "short" in self.path else 0)))
        self.send_header("Last-Modified", "Sat, 01 Jan 2000 00:00:00 GMT")
        self.end_headers()
        half = len(BODY) // 2
        self.wfile.write(BODY[:half])
        time.sleep(0.2 if "slow" in self.path else 0)
        self.wfile.write(BODY[half:])


@pytest.fixture
def origin() -> Iterator[str]:
    Origin.seen.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Origin) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    with Proxy(("127.0.0.1", 0), tmp_path / "apt", {}, frozenset({"127.0.0.1"})) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def get(proxy: Proxy, url: str, **headers: str) -> bytes:
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({"http": f"http://127.0.0.1:{proxy.server_port}"})
    )
    request = urllib.request.Request(url, headers=headers)
    with opener.open(request, timeout=10) as answer:
        body: bytes = answer.read()
        return body


def test_what_can_never_change() -> None:
    assert cacheable("http://a.example/debian/pool/main/b/bash/bash_5_amd64.deb")
    assert cacheable("http://a.example/debian/dists/x/main/binary-amd64/by-hash/SHA256/abc")
    assert not cacheable("http://a.example/debian/dists/x/InRelease")
    assert not cacheable("http://a.example/pool/x?token=1")


def test_packages_are_kept(proxy: Proxy, origin: str) -> None:
    for _ in range(3):
        assert get(proxy, f"{origin}/pool/a.deb") == BODY
    assert Origin.seen["/pool/a.deb"] == 1


def test_who_asks_at_the_same_time_shares_one_download(proxy: Proxy, origin: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        bodies = list(pool.map(lambda _: get(proxy, f"{origin}/pool/slow.deb"), range(8)))
    assert all(body == BODY for body in bodies)
    assert Origin.seen["/pool/slow.deb"] == 1


def test_indexes_are_asked_for_each_time(proxy: Proxy, origin: str) -> None:
    for _ in range(2):
        assert get(proxy, f"{origin}/dists/x/InRelease") == BODY
    assert Origin.seen["/dists/x/InRelease"] == 2
    with pytest.raises(urllib.error.HTTPError, match="304"):
        get(proxy, f"{origin}/dists/x/InRelease", **{"If-Modified-Since": "Sat, 01 Jan 2000 00:00:00 GMT"})


def test_errors_are_passed_on_and_not_kept(proxy: Proxy, origin: str) -> None:
    for path in ("/pool/missing.deb", "/dists/missing"):
        for _ in range(2):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                get(proxy, origin + path)
        assert Origin.seen[path] == 2
    assert list(proxy.store.folder.iterdir()) == []


def test_half_a_file_is_not_kept(proxy: Proxy, origin: str) -> None:
    for _ in range(2):
        with pytest.raises((OSError, urllib.error.HTTPError, Exception)):
            get(proxy, f"{origin}/pool/short.deb")
    assert Origin.seen["/pool/short.deb"] == 2
    assert list(proxy.store.folder.iterdir()) == []


def test_an_archive_that_is_not_there(proxy: Proxy) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for path in ("pool/a.deb", "dists/x"):
        with pytest.raises(urllib.error.HTTPError, match="502"):
            get(proxy, f"http://127.0.0.1:{port}/{path}")


def test_this_computer_itself_is_out_of_reach(tmp_path: Path, origin: str) -> None:
    with Proxy(("127.0.0.1", 0), tmp_path, {}) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(urllib.error.HTTPError, match="this computer's own"):
            get(server, f"{origin}/pool/a.deb")
        assert connect(server, "localhost:443").startswith(b"HTTP/1.1 502")
        server.shutdown()
    assert not Origin.seen


def connect(proxy: Proxy, where: str) -> bytes:
    with socket.create_connection(("127.0.0.1", proxy.server_port), timeout=10) as client:
        client.sendall(f"CONNECT {where} HTTP/1.1\r\nHost: {where}\r\n\r\n".encode())
        return client.recv(1000)


def test_tunnels_go_to_the_web_only(proxy: Proxy) -> None:
    assert connect(proxy, "127.0.0.1:22").startswith(b"HTTP/1.1 403")
    assert connect(proxy, "127.0.0.1").startswith(b"HTTP/1.1 403")
    assert proxy.refusal("169.254.169.254") == "169.254.169.254 is this computer's own"
    assert proxy.refusal("10.1.2.3") == ""


def test_an_address_that_is_not_for_a_proxy(proxy: Proxy) -> None:
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(f"http://127.0.0.1:{proxy.server_port}/pool/a", timeout=10)


def test_old_files_go(proxy: Proxy, origin: str) -> None:
    get(proxy, f"{origin}/pool/a.deb")
    get(proxy, f"{origin}/pool/b.deb")
    old = proxy.store.path_of(f"{origin}/pool/a.deb")
    # A file is handed out while it comes in: it has its name a moment later.
    assert wait_until(lambda: not list(proxy.store.folder.glob("*.part")), 10)
    os.utime(old, (1, 1))
    proxy.store.tidy()
    assert [path.name for path in proxy.store.folder.iterdir()] == [
        proxy.store.path_of(f"{origin}/pool/b.deb").name
    ]
