# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Requests and event streams to one State API over HTTP(S), by the standard library."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import time
import typing as t
from urllib.parse import urlsplit

from .sse import Frame, FrameParser
from .state_api_errors import StateApiError, StateApiRefusedError, refused, unreachable

_ANSWER_LIMIT = 64 * 1024 * 1024
_PIECE = 64 * 1024
_CLOSED = (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError)

STREAM_SILENCE = 45.0  # seconds; the API says something every 15


class StreamEvent(t.NamedTuple):
    """One event of the stream: `snapshot` or `change`, the id of the last event in it, and its content."""

    event: str
    id: t.Optional[int]
    data: t.Any


class EventStream:
    """The events of a stream as they come, until it breaks (StateApiUnreachableError) or its time is over."""

    def __init__(
        self,
        url: str,
        connection: http.client.HTTPConnection,
        response: http.client.HTTPResponse,
        deadline: t.Optional[float],
    ) -> None:
        """`deadline` on the monotonic clock: the stream ends there, as one that has nothing more to say."""
        self._url = url
        self._connection = connection
        self._sock: t.Any = connection.sock
        self._response = response
        self._deadline = deadline
        self._parser = FrameParser()
        self._ready: t.List[Frame] = []

    def __iter__(self) -> EventStream:
        return self

    def __next__(self) -> StreamEvent:
        while not self._ready:
            self._ready = self._read()[::-1]
        frame = self._ready.pop()
        try:
            data = json.loads(frame.data)
        except (ValueError, RecursionError):
            self.close()
            raise StateApiRefusedError(f"{self._url}: an event that is no JSON came", 200) from None
        return StreamEvent(frame.event, int(frame.id) if frame.id.isdigit() else None, data)

    def _read(self) -> t.List[Frame]:
        wait = STREAM_SILENCE
        if self._deadline is not None:
            wait = min(wait, self._deadline - time.monotonic())
            if wait <= 0:
                self.close()
                raise StopIteration
        try:
            self._sock.settimeout(wait)
            piece = self._response.read1(_PIECE)
            if not piece:
                raise http.client.RemoteDisconnected("the stream was closed")
            return self._parser.feed(piece)
        except socket.timeout:
            self.close()
            if self._deadline is not None and time.monotonic() >= self._deadline:
                raise StopIteration from None
            raise unreachable(self._url, socket.timeout()) from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            self.close()
            raise unreachable(self._url, error) from None

    def close(self) -> None:
        """End it; from another thread too, whose reader then gets StateApiUnreachableError."""
        with contextlib.suppress(OSError, ValueError):  # it may have ended by itself
            self._sock.shutdown(socket.SHUT_RDWR)
        self._connection.close()

    def __enter__(self) -> EventStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class HttpConnection:
    """A connection to one address, kept open between requests. Not for use by two threads at once.

    The address is asked directly, whatever proxy the environment names, and redirects are not followed: what
    the headers hold goes to the host of `url` and nowhere else.
    """

    def __init__(
        self, url: str, headers: t.Mapping[str, str], timeout: float, ca_file: t.Optional[str]
    ) -> None:
        """Raise StateApiError when `url` is no http or https address, or the CA file cannot be used."""
        try:
            parts = urlsplit(url)
            self._port = parts.port
        except ValueError:
            parts = urlsplit("")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            raise StateApiError(
                f"{_without_password(url)} is no address of a State API, expected http(s)://HOST:PORT"
            )
        self._host = parts.hostname
        self._prefix = parts.path.rstrip("/")
        self.url = f"{parts.scheme}://{parts.netloc}{self._prefix}"
        self._headers = dict(headers)
        self._timeout = timeout
        self._context: t.Optional[ssl.SSLContext] = None
        if parts.scheme == "https":
            try:
                self._context = ssl.create_default_context(cafile=ca_file)
            except (OSError, ssl.SSLError) as error:
                raise StateApiError(f"{ca_file}: cannot be used as the State API's CA: {error}") from None
        self._connection = self._new()

    def _new(self) -> http.client.HTTPConnection:
        if self._context is not None:
            return http.client.HTTPSConnection(
                self._host, self._port, timeout=self._timeout, context=self._context
            )
        return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)

    def request(self, method: str, path: str, body: t.Any = None, repeatable: bool = True) -> t.Any:
        """Send a request and return what the JSON answer holds (None when it is empty).

        A request that is not `repeatable` never goes over a connection that has been idle: where such a one
        breaks, nobody knows whether the request was carried out.
        """
        if not repeatable:
            self.close()
        response = self._open(method, path, body)
        try:
            answer = response.read(_ANSWER_LIMIT)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise unreachable(self.url, error) from None
        if response.will_close or not response.isclosed():
            self.close()
        if not answer:
            return None
        try:
            return json.loads(answer)
        except (ValueError, RecursionError):
            raise StateApiRefusedError(
                f"{method} {self.url}{path}: the answer is no JSON; is this a State API?", response.status
            ) from None

    def download(self, path: str, stream: t.BinaryIO) -> int:
        """Copy the answer to a GET into `stream`, whole or with an error; return its size in bytes."""
        response = self._open("GET", path, None)
        expected, size = response.length, 0
        try:
            while True:
                piece = response.read(_PIECE)
                if not piece:
                    break
                stream.write(piece)
                size += len(piece)
        except http.client.HTTPException as error:
            self.close()
            raise unreachable(self.url, error) from None
        finally:
            self.close()
        if expected is not None and size != expected:
            raise unreachable(self.url, OSError(0, f"the answer ended after {size} of {expected} bytes"))
        return size

    def stream(self, path: str, last_id: t.Optional[int], deadline: t.Optional[float]) -> EventStream:
        """Open an event stream over a connection of its own."""
        headers = {**self._headers, "Accept": "text/event-stream", "Cache-Control": "no-store"}
        if last_id is not None:
            headers["Last-Event-ID"] = str(last_id)
        connection = self._new()
        try:
            connection.request("GET", self._prefix + path, None, headers)
            stream_socket = connection.sock
            response = connection.getresponse()
            kind = response.headers.get_content_type()
            answer = b"" if response.status == 200 else response.read(_PIECE)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise unreachable(self.url, error) from None
        request = f"GET {self.url}{path}"
        if response.status == 200 and kind == "text/event-stream":
            connection.sock = stream_socket  # http.client lets go of it when the answer has no known end
            return EventStream(self.url, connection, response, deadline)
        connection.close()
        if response.status != 200:
            raise refused(request, response.status, answer)
        raise StateApiRefusedError(
            f"{request}: the answer is no event stream but {kind}; is this a State API?", response.status
        )

    def _open(self, method: str, path: str, body: t.Any) -> http.client.HTTPResponse:
        """Send a request; return the answer, unread, when it is a success."""
        headers = dict(self._headers)
        payload = None
        if body is not None:
            payload = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        while True:
            used_before = self._connection.sock is not None
            try:
                self._connection.request(method, self._prefix + path, payload, headers)
                response = self._connection.getresponse()
                if 200 <= response.status < 300:
                    return response
                answer = response.read(_ANSWER_LIMIT)
            except _CLOSED as error:
                self.close()
                if used_before:
                    continue  # the server had closed the idle connection: a new one tells whether it is there
                raise unreachable(self.url, error) from None
            except (OSError, http.client.HTTPException) as error:
                self.close()
                raise unreachable(self.url, error) from None
            if response.will_close:
                self.close()
            raise refused(f"{method} {self.url}{path}", response.status, answer)

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        self._connection.close()


def _without_password(url: str) -> str:
    head, at, tail = url.rpartition("@")
    return f"{head.partition('//')[0]}//…@{tail}" if at else url
