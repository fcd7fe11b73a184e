# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The State API over HTTP: one small client for the callback, modules, lookups and the command line."""

from __future__ import annotations

import typing as t
from urllib.parse import quote, urlencode

from .state_api_errors import StateApiError, StateApiRefusedError, StateApiUnreachableError
from .state_api_http import EventStream, HttpConnection, StreamEvent

__all__ = [
    "EventStream",
    "StateApiClient",
    "StateApiError",
    "StateApiRefusedError",
    "StateApiUnreachableError",
    "StreamEvent",
    "read_token",
]

_NOT_FOUND = 404


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
    """One State API, by the verbs that it has. Not for use by two threads at once.

    Each verb raises StateApiUnreachableError when there is no answer and StateApiRefusedError when it is no.
    MAC addresses may have any notation.
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
        headers = {"Accept": "application/json", "User-Agent": "kubestead"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if correlation_id is not None:
            headers["X-Correlation-ID"] = correlation_id
        self._http = HttpConnection(url, headers, timeout, ca_file)
        self.url = self._http.url

    def request(self, method: str, path: str, body: t.Any = None) -> t.Any:
        """Send a request and return what the JSON answer holds (None when it is empty)."""
        return self._http.request(method, path, body)

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        self._http.close()

    # Health

    def health(self) -> t.Any:
        """What the API says of itself: status, version, registry, store."""
        return self._get("/healthz")

    def healthy(self) -> bool:
        """Tell whether the API answers and can do its work."""
        try:
            self.health()
        except StateApiError:
            return False
        return True

    # The five paths of old

    def config(self, mac: str) -> t.Any:
        """What the registry says of one machine."""
        return self._get(f"/api/config/{_mac(mac)}")

    def states(self) -> t.Any:
        """The state of every machine, by MAC."""
        return self._get("/api/states")

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
        return self.request("POST", "/api/state", {"mac": mac, "state": state, **_given(optional)})

    def put_data(self, mac: str, key: str, value: t.Any) -> t.Any:
        """Keep a value of a machine."""
        return self.request("POST", "/api/data", {"mac": mac, "key": key, "value": value})

    def data(self, mac: str, key: str) -> t.Any:
        """A value that was kept of a machine, with its time."""
        return self._get(f"/api/data/{_mac(mac)}/{_name(key)}")

    def data_or_none(self, mac: str, key: str) -> t.Any:
        """The same, None where nothing was kept."""
        try:
            return self.data(mac, key)
        except StateApiRefusedError as error:
            if error.status != _NOT_FOUND:
                raise
            return None

    def data_keys(self, mac: str) -> t.Any:
        """The keys of what was kept of a machine, each with its time."""
        return self._get(f"/api/data/{_mac(mac)}")

    # Machines and their events

    def machines(self) -> t.Any:
        """Every machine that the registry or the store knows, by MAC."""
        return self._get("/api/machines")

    def machine(self, mac: str) -> t.Any:
        """One machine: its place in the registry and how it is."""
        return self._get(f"/api/machines/{_mac(mac)}")

    def act(self, mac: str, action: str, **body: t.Any) -> t.Any:
        """Approve, install, reinstall, rescue, retire, lock or unlock a machine and return it.

        `version` refuses it when the machine has changed since; reinstall needs `hostname`. What is None is
        left out.
        """
        return self._once("POST", f"/api/machines/{_mac(mac)}/{_name(action)}", _given(body))

    def events(
        self,
        after: t.Optional[int] = None,
        mac: t.Optional[str] = None,
        limit: t.Optional[int] = None,
    ) -> t.Any:
        """What happened: the newest first, or in their order those after the event `after`."""
        query = urlencode(_given({"after": after, "mac": mac, "limit": limit}))
        return self._get(f"/api/events{'?' if query else ''}{query}")

    def stream(
        self,
        macs: t.Iterable[str] = (),
        last_id: t.Optional[int] = None,
        deadline: t.Optional[float] = None,
    ) -> EventStream:
        """Events as they happen, over a connection of its own: a snapshot, then the changes.

        Iterating raises StateApiUnreachableError when the stream breaks or falls silent; go on with the `id`
        of the last event as `last_id`. It ends by itself only at `deadline` (of the monotonic clock).
        """
        query = urlencode([("mac", mac) for mac in macs])
        return self._http.stream(f"/api/stream{'?' if query else ''}{query}", last_id, deadline)

    # The registry

    def registry(self) -> t.Any:
        """The live registry: its text, hash, condition, problems and warnings."""
        return self._get("/api/registry")

    def put_registry(self, text: str, expected_sha256: t.Optional[str] = None, force: bool = False) -> t.Any:
        """Replace the live registry; refused with 412 when it has an edit that the caller has not seen."""
        optional = {"expected_sha256": expected_sha256, "force": force or None}
        return self.request("PUT", "/api/registry", {"text": text, **_given(optional)})

    def put_machine(self, mac: str, entry: t.Mapping[str, t.Any], expected: t.Optional[str] = None) -> t.Any:
        """Set a machine's entry in the live registry.

        Refused with 412 where the one that is there has not the fingerprint `expected`
        (`registry_sync.entry_fingerprint`).
        """
        return self._once("PUT", _entry(mac, expected), dict(entry))

    def delete_machine(self, mac: str, expected: t.Optional[str] = None) -> t.Any:
        """Remove a machine's entry from the live registry; `expected` as for `put_machine`."""
        return self._once("DELETE", _entry(mac, expected))

    # Tokens

    def tokens(self) -> t.Any:
        """The tokens that were made, without their secrets."""
        return self._get("/api/tokens")

    def create_token(
        self,
        name: str,
        scope: str,
        mac: t.Optional[str] = None,
        expires_in_seconds: t.Optional[int] = None,
    ) -> t.Any:
        """Make a token; its secret is in this answer and never again."""
        optional = {"mac": mac, "expires_in_seconds": expires_in_seconds}
        return self._once("POST", "/api/tokens", {"name": name, "scope": scope, **_given(optional)})

    def revoke_token(self, id: t.Any) -> t.Any:
        """Let a token open nothing from now on."""
        return self.request("DELETE", f"/api/tokens/{_name(str(id))}")

    # Machines that ask to be adopted

    def enrolments(self) -> t.Any:
        """The machines that ask, or have asked, to be adopted, the newest last."""
        return self._get("/api/enrolments")

    def decide_enrolment(self, code: str, approve: bool) -> t.Any:
        """Approve or refuse the machine that shows this code; the same again changes nothing."""
        decision = "approve" if approve else "refuse"
        return self.request("POST", f"/api/enrolments/{_name(code)}/{decision}")

    # Claims

    def claims(self) -> t.Any:
        """All claims, by name."""
        return self._get("/api/claims")

    def claim(self, name: str) -> t.Any:
        """One claim: who holds it, since when, with which epoch and data."""
        return self._get(f"/api/claims/{_name(name)}")

    def take_claim(self, name: str, holder: str) -> t.Any:
        """Take a claim, or find that `holder` has it already; 409 with the claim when another has."""
        return self.request("POST", f"/api/claims/{_name(name)}", {"holder": holder})

    def complete_claim(self, name: str, holder: str, epoch: int, data: t.Any) -> t.Any:
        """Say that what was claimed is done, and leave `data` about it."""
        body = {"holder": holder, "epoch": epoch, "data": data}
        return self.request("PUT", f"/api/claims/{_name(name)}", body)

    def force_claim(self, name: str, holder: str) -> t.Any:
        """Pass a claim to another holder; its epoch goes up, so that the old holder's writes are refused."""
        return self._once("POST", f"/api/claims/{_name(name)}/force", {"holder": holder})

    def release_claim(self, name: str, epoch: int) -> t.Any:
        """Let go of a claim whose work is no more, in the epoch in which it was seen."""
        return self._once("POST", f"/api/claims/{_name(name)}/release", {"epoch": epoch})

    # The store

    def backup(self, stream: t.BinaryIO) -> int:
        """Write a consistent copy of the store to `stream`; return its size in bytes."""
        return self._http.download("/api/backup", stream)

    def _get(self, path: str) -> t.Any:
        return self._http.request("GET", path)

    def _once(self, method: str, path: str, body: t.Any = None) -> t.Any:
        return self._http.request(method, path, body, repeatable=False)


def _given(values: t.Mapping[str, t.Any]) -> t.Dict[str, t.Any]:
    return {key: value for key, value in values.items() if value is not None}


def _entry(mac: str, expected: t.Optional[str]) -> str:
    return f"/api/registry/machines/{_mac(mac)}" + (f"?expected={expected}" if expected else "")


def _mac(mac: str) -> str:
    return quote(mac, safe=":")


def _name(name: str) -> str:
    return quote(name, safe="")
