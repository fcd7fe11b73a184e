# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking whether addresses answer: all at once, through the machine's proxies, in words for a person."""

from __future__ import annotations

import json
import socket
import ssl
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, NamedTuple, Sequence

# How often a bundle that is being built is asked again.
POLL_SECONDS = 3.0


class Target(NamedTuple):
    """Something that has to be there, and the answers that say that it is."""

    name: str
    url: str
    status: tuple[int, ...] = (200,)


class Answer(NamedTuple):
    """What an address answered: a status, or none and the reason in words."""

    target: Target
    status: int | None
    detail: str

    @property
    def reached(self) -> bool:
        """Whether it is what we want to hear."""
        return self.status in self.target.status

    def sentence(self) -> str:
        """One line for a list of what is wrong."""
        return f"{self.target.name}: {self.target.url}: {self.detail}"


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows 308 like 307, which Python does from 3.11 on."""

    http_error_308 = urllib.request.HTTPRedirectHandler.http_error_307

    def redirect_request(self, req: Any, fp: Any, code: int, *rest: Any) -> Any:
        """Ask at the new place."""
        return super().redirect_request(req, fp, 307 if code == 308 else code, *rest)


def in_words(error: BaseException) -> str:
    """Why there was no answer."""
    reason = getattr(error, "reason", error)
    if isinstance(reason, socket.gaierror):
        return "the name cannot be resolved (is there DNS on this machine, or does it need a proxy?)"
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {reason.verify_message}"
    if isinstance(reason, (socket.timeout, TimeoutError)) or "timed out" in str(reason):
        return "no answer in time"
    if isinstance(reason, ConnectionRefusedError):
        return "nothing listens there (connection refused)"
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror
    return str(reason) or type(reason).__name__


def fetch(url: str, timeout: float, limit: int = 65536) -> tuple[int, bytes]:
    """Status and the beginning of the body, whatever the status is; an exception when nobody answered."""
    if not url.startswith(("http://", "https://")):
        raise ValueError("an address starts with http:// or https://")
    request = urllib.request.Request(url, headers={"User-Agent": "kubestead", "Accept": "*/*"})
    try:
        with urllib.request.build_opener(_Redirects()).open(request, timeout=timeout) as response:
            return int(response.status), response.read(limit)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(limit)


def ask(target: Target, timeout: float) -> Answer:
    """Ask one address."""
    try:
        status, body = fetch(target.url, timeout, 300)
    except (OSError, ValueError) as error:
        return Answer(target, None, in_words(error))
    said = " ".join(body.decode("utf-8", "replace").split()) if status not in target.status else ""
    return Answer(target, status, f"HTTP {status}" + (f" ({said[:160]})" if said else ""))


def ask_all(targets: Sequence[Target], timeout: float) -> list[Answer]:
    """Ask all addresses at once; answers in the order of the targets."""
    if not targets:
        return []
    with ThreadPoolExecutor(max_workers=min(16, len(targets))) as pool:
        return list(pool.map(lambda target: ask(target, timeout), targets))


def bundle_state(url: str, timeout: float, minor: str = "") -> dict[str, str]:
    """What a bundle says of itself; ``state`` is ``unknown`` where it says nothing of the kind.

    One that has all of ``minor`` is ``ready`` for it, also while something else is being built into it.
    """
    try:
        status, body = fetch(url, timeout)
    except (OSError, ValueError) as error:
        return {"state": "unreachable", "detail": in_words(error)}
    try:
        said = json.loads(body)
    except ValueError:
        said = None
    if status != 200 or not isinstance(said, dict):
        # A bundle on an ordinary web server has no such page: its files will tell.
        return {"state": "unknown", "detail": f"HTTP {status}"}
    state = {key: str(said.get(key) or "") for key in ("state", "progress", "detail")}
    if minor and minor in (said.get("minors") or []):
        state["state"] = "ready"
    return state


def await_bundle(
    url: str,
    timeout: float,
    wait: float,
    minor: str = "",
    *,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> dict[str, str]:
    """Its state once it is no longer being built, or has ``minor``, or when the wait is over."""
    end = clock() + wait
    while True:
        state = bundle_state(url, timeout, minor)
        left = end - clock()
        if state["state"] != "building" or left <= 0:
            return state
        pause(min(POLL_SECONDS, left))
