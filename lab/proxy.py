# SPDX-License-Identifier: GPL-3.0-or-later
"""An HTTP proxy for nodes that have no other way out: apt's files are kept, the rest is passed through."""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import os
import select
import shutil
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message
from functools import partial
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any, cast
from urllib.parse import urlsplit

_BLOCK = 1 << 16
_TIMEOUT = 60
_TUNNEL_PORTS = (80, 443)
_KEPT_DAYS = 30
_PASSED_ON = ("accept", "cache-control", "if-modified-since", "if-none-match", "range", "user-agent")
_PASSED_BACK = ("Content-Type", "Content-Range", "ETag", "Last-Modified", "Location")


def cacheable(url: str) -> bool:
    """Say whether what is at an address can never change: apt's packages, and indexes named by their hash."""
    parts = urlsplit(url)
    return not parts.query and ("/pool/" in parts.path or "/by-hash/" in parts.path)


@dataclass
class Download:
    """A file on its way: who asks for it while it comes reads along."""

    part: Path
    whole: Path
    size: int | None = None
    written: int = 0
    done: bool = False
    error: tuple[int, str] | None = None
    changed: threading.Condition = field(default_factory=threading.Condition)

    def tell(self, **values: Any) -> None:
        """Change what is known of it and wake the readers."""
        with self.changed:
            for name, value in values.items():
                setattr(self, name, value)
            self.changed.notify_all()

    def wait_for_size(self) -> None:
        """Wait until the answer has begun, or failed."""
        with self.changed:
            self.changed.wait_for(lambda: self.done or self.size is not None)

    def _open(self) -> IO[bytes]:
        try:
            return self.part.open("rb")
        except FileNotFoundError:  # it is all there by now
            return self.whole.open("rb")

    def _beyond(self, position: int) -> bool:
        return self.done or self.written > position

    def blocks(self) -> Iterator[bytes]:
        """Read the file as it grows."""
        position = 0
        with self._open() as stream:
            while True:
                with self.changed:
                    self.changed.wait_for(partial(self._beyond, position))
                    done = self.done
                while block := stream.read(_BLOCK):
                    position += len(block)
                    yield block
                if done:
                    return


class Store:
    """Files that were fetched once, by their address."""

    def __init__(self, folder: Path, opener: urllib.request.OpenerDirector) -> None:
        self.folder = folder
        self.opener = opener
        self._coming: dict[str, Download] = {}
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)

    def tidy(self) -> None:
        """Remove half-fetched files, and what nobody asked for in a month."""
        limit = time.time() - _KEPT_DAYS * 86400
        for path in self.folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # other labs use the folder too
                age = path.stat().st_mtime
                if age < limit or (path.suffix == ".part" and age < time.time() - 3600):
                    path.unlink()

    def path_of(self, url: str) -> Path:
        """Return where a file is kept."""
        return self.folder / hashlib.sha256(url.encode()).hexdigest()

    def get(self, url: str) -> Path | Download:
        """Return the kept file, or its download; the first who asks starts that."""
        path = self.path_of(url)
        with self._lock:
            if coming := self._coming.get(url):
                return coming
            if path.is_file():
                os.utime(path)
                return path
            part = path.with_name(f"{path.name}.{os.getpid()}.part")
            part.touch()
            coming = self._coming[url] = Download(part, path)
        threading.Thread(target=self._fetch, args=(url, coming, path), daemon=True).start()
        return coming

    def _fetch(self, url: str, coming: Download, path: Path) -> None:
        error = None
        try:
            self._receive(url, coming)
            coming.part.rename(path)
        except urllib.error.HTTPError as problem:
            error = (problem.code, problem.reason)
        except (OSError, HTTPException) as problem:
            error = (502, f"{urlsplit(url).netloc}: {problem}")
        with self._lock:
            del self._coming[url]
        if error:
            coming.part.unlink(missing_ok=True)
        coming.tell(done=True, error=error)

    def _receive(self, url: str, coming: Download) -> None:
        with self.opener.open(url, timeout=_TIMEOUT) as answer, coming.part.open("wb") as stream:
            length = answer.headers.get("Content-Length")
            if length is not None:
                coming.tell(size=int(length))
            while block := answer.read(_BLOCK):
                stream.write(block)
                stream.flush()
                coming.tell(written=coming.written + len(block))
        if length is not None and coming.written != int(length):
            raise HTTPException(f"{coming.written} of {length} bytes came")


class Proxy(ThreadingHTTPServer):
    """The listening server. `trusted`: hosts that nodes may reach also on this computer itself."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(
        self,
        address: tuple[str, int],
        cache: Path,
        upstream: Mapping[str, str],
        trusted: frozenset[str] = frozenset(),
    ) -> None:
        self.upstream = dict(upstream)
        self.trusted = trusted
        handler = urllib.request.ProxyHandler(self.upstream)
        self.opener = urllib.request.build_opener(handler)
        self.store = Store(cache, self.opener)
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error of ours."""

    def refusal(self, host: str) -> str:
        """Say why a node may not reach a host; nothing when it may."""
        if host in self.trusted or self.upstream:
            return ""
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except OSError as error:
            return f"{host} cannot be resolved: {error.strerror}"
        addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
        if any(
            one.is_loopback or one.is_link_local or one.is_unspecified or one.is_multicast
            for one in addresses
        ):
            return f"{host} is this computer's own"
        return ""


def _own(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 300
    server: Proxy

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing for each request."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.scheme != "http" or not parts.hostname:
            self._refuse(400, "this is a proxy: it wants http://host/path")
        elif reason := self.server.refusal(parts.hostname):
            self._refuse(502, reason)
        elif cacheable(self.path):
            self._keep()
        else:
            self._pass()

    def _keep(self) -> None:
        found = self.server.store.get(self.path)
        if isinstance(found, Path):
            with found.open("rb") as stream:
                self._answer(200, {"Content-Length": str(os.fstat(stream.fileno()).st_size)})
                if self.command == "GET":
                    shutil.copyfileobj(stream, self.wfile, _BLOCK)
            return
        found.wait_for_size()
        if found.error:
            self._refuse(*found.error)
            return
        known = found.size is not None
        self._answer(200, {"Content-Length": str(found.size)} if known else {"Connection": "close"})
        if self.command == "GET":
            for block in found.blocks():
                self.wfile.write(block)
            if found.error or not known:  # the client must see where it ends, or that it was cut short
                self.close_connection = True

    def _pass(self) -> None:
        headers = {name: value for name, value in self.headers.items() if name.lower() in _PASSED_ON}
        request = urllib.request.Request(self.path, headers=headers, method=self.command)
        try:
            with self.server.opener.open(request, timeout=_TIMEOUT) as answer:
                self._relay(answer.status, answer.headers, answer)
        except urllib.error.HTTPError as error:
            with error:
                self._relay(error.code, error.headers, cast("IO[bytes]", error))
        except (OSError, HTTPException) as error:
            self._refuse(502, f"{urlsplit(self.path).netloc}: {error}")

    def _relay(self, status: int, headers: Message, body: IO[bytes]) -> None:
        kept = {name: headers[name] for name in _PASSED_BACK if headers.get(name)}
        bodyless = status in (204, 304) or self.command == "HEAD"
        if headers.get("Content-Length"):
            kept["Content-Length"] = headers["Content-Length"]
        elif not bodyless:
            kept["Connection"] = "close"
        self._answer(status, kept)
        if not bodyless:
            shutil.copyfileobj(body, self.wfile, _BLOCK)

    def do_CONNECT(self) -> None:
        host, _, port = self.path.rpartition(":")
        host = host.strip("[]")
        if not port.isdigit() or int(port) not in _TUNNEL_PORTS:
            self._refuse(403, f"tunnels go to ports {_TUNNEL_PORTS} only")
        elif reason := self.server.refusal(host):
            self._refuse(502, reason)
        else:
            self._tunnel(host, int(port))

    def _tunnel(self, host: str, port: int) -> None:
        try:
            other = self._outside(host, port)
        except OSError as error:
            self._refuse(502, f"{host}:{port}: {error}")
            return
        with other:
            self._answer(200, {})
            self.wfile.flush()
            relay(self.connection, other)
        self.close_connection = True

    def _outside(self, host: str, port: int) -> socket.socket:
        via = urlsplit(self.server.upstream.get("https", ""))
        if not via.hostname:
            return socket.create_connection((host, port), timeout=_TIMEOUT)
        other = socket.create_connection((via.hostname, via.port or 80), timeout=_TIMEOUT)
        other.sendall(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        head = b""
        while b"\r\n\r\n" not in head and (block := other.recv(1)):
            head += block
        if b" 200 " not in head.split(b"\r\n")[0] + b" ":
            other.close()
            raise OSError(
                f"proxy {via.netloc} refused: {head.splitlines()[0].decode() if head else 'no answer'}"
            )
        return other

    def _answer(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _refuse(self, status: int, reason: str) -> None:
        body = f"{reason}\n".encode()
        self.send_response(status, reason.replace("\n", " ")[:200])
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def relay(one: socket.socket, other: socket.socket, idle: float = 3600) -> None:
    """Pass bytes both ways until both sides are done, or nothing comes for long."""
    for each in (one, other):
        each.settimeout(_TIMEOUT)
    opposite = {one: other, other: one}
    open_ends = {one, other}
    while open_ends:
        ready, _, _ = select.select(list(open_ends), [], [], idle)
        if not ready:
            return
        for source in ready:
            try:
                data = source.recv(_BLOCK)
                if data:
                    opposite[source].sendall(data)
                else:
                    open_ends.discard(source)
                    opposite[source].shutdown(socket.SHUT_WR)
            except OSError:
                return
