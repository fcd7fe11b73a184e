# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The State API over HTTP: one small client for the callback, modules, lookups and the command line."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import typing as t
from urllib.parse import quote, urlsplit

_ANSWER_LIMIT = 64 * 1024 * 1024
_SHOWN = 300


class StateApiError(Exception):
    """The State API did not do what was asked. The text is a sentence for people and holds no token."""


class StateApiUnreachableError(StateApiError):
    """No answer: nothing listens there, the way is blocked, or TLS was refused. Trying again may help."""


class StateApiRefusedError(StateApiError):
    """An answer that says no; `status` is its HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status

    @property
    def temporary(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status >= 500 or self.status == 429


def read_token(path: str) -> str:
    """Read a token from its file; raise StateApiError, naming the file, when there is none in it."""
    try:
        with open(path, encoding="ascii") as stream:
            token = stream.read().strip()
    except OSError as error:
        raise StateApiError(f"{path}: the State API's token cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        token = ""
    if not token or not token.isprintable() or " " in token:
        raise StateApiError(f"{path}: holds no token for the State API, expected one line of ASCII text")
    return token


class StateApiClient:
    """A connection to one State API, kept open between requests. Not for use by two threads at once.

    The API is asked directly, whatever proxy the environment names, and redirects are not followed: the token
    goes to the host of `url` and nowhere else.
    """

    def __init__(
        self,
        url: str,
        token: t.Optional[str] = None,
        timeout: float = 5.0,
        ca_file: t.Optional[str] = None,
        correlation_id: t.Optional[str] = None,
    ) -> None:
        """Raise StateApiError when `url` is no http or https address, or the CA file cannot be used."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            raise StateApiError(
                f"{_without_password(url)} is no address of a State API, expected http(s)://HOST:PORT"
            )
        self.url = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        self._prefix = parts.path.rstrip("/")
        self._headers = {"Accept": "application/json", "User-Agent": "kubestead"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        if correlation_id is not None:
            self._headers["X-Correlation-ID"] = correlation_id
        self._connection: http.client.HTTPConnection
        if parts.scheme == "https":
            try:
                context = ssl.create_default_context(cafile=ca_file)
            except (OSError, ssl.SSLError) as error:
                raise StateApiError(f"{ca_file}: cannot be used as the State API's CA: {error}") from None
            self._connection = http.client.HTTPSConnection(
                parts.hostname, port, timeout=timeout, context=context
            )
        else:
            self._connection = http.client.HTTPConnection(parts.hostname, port, timeout=timeout)

    def request(self, method: str, path: str, body: t.Any = None) -> t.Any:
        """Send a request and return what the JSON answer holds (None when it is empty)."""
        headers = dict(self._headers)
        payload = None
        if body is not None:
            payload = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        status, answer = self._exchange(method, self._prefix + path, payload, headers)
        if not 200 <= status < 300:
            raise StateApiRefusedError(f"{method} {self.url}{path}: {_reason(status, answer)}", status)
        if not answer:
            return None
        try:
            return json.loads(answer)
        except ValueError:
            raise StateApiRefusedError(
                f"{method} {self.url}{path}: the answer is no JSON; is this a State API?", status
            ) from None

    def _exchange(
        self, method: str, path: str, payload: t.Optional[bytes], headers: t.Dict[str, str]
    ) -> t.Tuple[int, bytes]:
        while True:
            used_before = self._connection.sock is not None
            try:
                self._connection.request(method, path, payload, headers)
                response = self._connection.getresponse()
                answer = response.read(_ANSWER_LIMIT)
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError) as error:
                self.close()
                if used_before:
                    continue  # the server had closed the idle connection: a new one tells whether it is there
                raise StateApiUnreachableError(f"{self.url}: {_cause(error)}") from None
            except (OSError, http.client.HTTPException) as error:
                self.close()
                raise StateApiUnreachableError(f"{self.url}: {_cause(error)}") from None
            if response.will_close:
                self.close()
            return response.status, answer

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        self._connection.close()

    def healthy(self) -> bool:
        """Tell whether the API answers and can do its work."""
        try:
            self.request("GET", "/healthz")
        except StateApiError:
            return False
        return True

    def config(self, mac: str) -> t.Any:
        """What the registry says of one machine."""
        return self.request("GET", f"/api/config/{quote(mac, safe=':')}")

    def states(self) -> t.Any:
        """The state of every machine, by MAC."""
        return self.request("GET", "/api/states")

    def report_state(
        self,
        mac: str,
        state: str,
        *,
        phase: t.Optional[str] = None,
        progress: t.Optional[int] = None,
        message: t.Optional[str] = None,
        features: t.Optional[t.Mapping[str, str]] = None,
        error: t.Optional[str] = None,
    ) -> t.Any:
        """Report the state of a machine; what is None is left out."""
        optional = {
            "phase": phase,
            "progress": progress,
            "message": message,
            "features": features,
            "error": error,
        }
        body = {
            "mac": mac,
            "state": state,
            **{key: value for key, value in optional.items() if value is not None},
        }
        return self.request("POST", "/api/state", body)

    def put_data(self, mac: str, key: str, value: t.Any) -> t.Any:
        """Keep a value of a machine."""
        return self.request("POST", "/api/data", {"mac": mac, "key": key, "value": value})

    def data(self, mac: str, key: str) -> t.Any:
        """A value that was kept of a machine, with its time."""
        return self.request("GET", f"/api/data/{quote(mac, safe=':')}/{quote(key, safe='')}")


def _without_password(url: str) -> str:
    head, at, tail = url.rpartition("@")
    return f"{head.partition('//')[0]}//…@{tail}" if at else url


def _cause(error: BaseException) -> str:
    if isinstance(error, socket.timeout):
        return "no answer in time"
    if isinstance(error, socket.gaierror):
        return "the host name is not known"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message}); is the right CA file set?"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error.reason or error}); is it http rather than https?"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return "the connection was closed without an answer" if not str(error) else str(error)


def _reason(status: int, answer: bytes) -> str:
    """What an answer gives as the reason: FastAPI's `detail`, else its first line."""
    name = http.client.responses.get(status, "")
    text = answer.decode("utf-8", "replace")
    try:
        detail = json.loads(text)["detail"]
    except (ValueError, KeyError, TypeError):
        detail = text.strip().splitlines()[0] if text.strip() and not text.lstrip().startswith("<") else ""
    if isinstance(detail, list):
        detail = "; ".join(
            f"{'.'.join(str(part) for part in item.get('loc', []))}: {item.get('msg', '')}"
            for item in detail
            if isinstance(item, dict)
        )
    shown = str(detail)[:_SHOWN]
    return f"{status} {name}{': ' if shown else ''}{shown}"
