# SPDX-License-Identifier: GPL-3.0-or-later
"""How much one client may ask for: requests a second, connections at a time; and who the client is."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address

from starlette.types import ASGIApp, Receive, Scope, Send

from .errors import problem
from .settings import Networks, within

_ROUNDING = 1e-6  # of sums of intervals
_MOST_CLIENTS = 10_000  # whose buckets are kept before those that are full again are forgotten


class Buckets:
    """A token bucket for each client: `rate` a second, twice as many at once."""

    def __init__(self, rate: float) -> None:
        """Start with full buckets."""
        self._interval = 1 / rate
        self._depth = 2.0  # seconds' worth
        self._full_at: dict[str, float] = {}  # when each bucket will be full again

    def take(self, client: str, now: float) -> bool:
        """Take one token; False if there is none."""
        full_at = max(self._full_at.get(client, 0.0), now)
        if full_at - now > self._depth - self._interval + _ROUNDING:
            return False
        if len(self._full_at) >= _MOST_CLIENTS and client not in self._full_at:
            self._forget(now)
        self._full_at[client] = full_at + self._interval
        return True

    def seconds_until_next(self, client: str, now: float) -> int:
        """After how many whole seconds the client may ask again."""
        wait = self._full_at.get(client, 0.0) - now - self._depth + self._interval
        return max(1, math.ceil(wait))

    def _forget(self, now: float) -> None:
        kept = {client: full_at for client, full_at in self._full_at.items() if full_at > now}
        # Should nobody's be full, those that have asked longest ago start anew.
        self._full_at = dict(sorted(kept.items(), key=lambda item: item[1])[-_MOST_CLIENTS // 2 :])


class RateLimit:
    """Answers 429 to a client that asks too often, unless the request is exempt."""

    def __init__(self, app: ASGIApp, rate: float, exempt: Callable[[Scope], bool] | None = None) -> None:
        """Wrap `app`; `exempt` is asked only about requests that would be refused."""
        self._app = app
        self._rate = rate
        self._exempt = exempt
        self._buckets = Buckets(rate)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "http":
            client, now = client_key(scope), time.monotonic()
            if not self._buckets.take(client, now) and not (self._exempt and self._exempt(scope)):
                seconds = self._buckets.seconds_until_next(client, now)
                detail = (
                    f"too many requests from {client}: at most {self._rate:g} a second are answered; "
                    f"try again in {seconds} s"
                )
                await problem(429, detail, {"Retry-After": str(seconds)})(scope, receive, send)
                return
        await self._app(scope, receive, send)


def client_key(scope: Scope) -> str:
    """What a client is counted under: its address, or for IPv6 its network, of which it has all addresses."""
    client = scope.get("client")
    if not client:
        return "unknown"
    address: str = client[0]
    return network_of(address) if ":" in address else address


def network_of(address: str) -> str:
    """The /64 network of an IPv6 address, as its first address."""
    try:
        number = int(IPv6Address(address.partition("%")[0]))
    except ValueError:
        return address
    return str(IPv6Address(number >> 64 << 64))


class Seats:
    """The connections at a time, overall and of each client."""

    def __init__(self, overall: int, per_client: int, proxies: Networks = ()) -> None:
        """Allow so many; a trusted proxy stands for many clients and may take all."""
        self._overall, self._per_client, self._proxies = overall, per_client, proxies
        self._taken: Counter[str] = Counter()
        self._count = 0

    def take(self, address: str) -> Callable[[], None] | None:
        """Take a seat; gives what is to be called when the connection has ended, None if there is no seat."""
        key = network_of(address) if ":" in address and not address.startswith("::ffff:") else address
        if self._count >= self._overall:
            return None
        if self._taken[key] >= self._per_client and not within(self._proxies, address):
            return None
        self._count += 1
        self._taken[key] += 1
        left = False

        def leave() -> None:
            nonlocal left
            if left:
                return
            left = True
            self._count -= 1
            self._taken[key] -= 1
            if not self._taken[key]:
                del self._taken[key]

        return leave


class BehindProxy:
    """Takes client and scheme from a trusted proxy's headers; anybody else's are ignored."""

    def __init__(self, app: ASGIApp, proxies: Networks) -> None:
        """Wrap `app`."""
        self._app = app
        self._proxies = proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on as its client's."""
        client = scope.get("client")
        if scope["type"] == "http" and client and within(self._proxies, client[0]):
            scope = dict(scope)
            headers = scope["headers"]
            forwarded = b",".join(value for name, value in headers if name == b"x-forwarded-for")
            if address := self._client(forwarded.decode("latin-1")):
                scope["client"] = (address, 0)
            proto = [value for name, value in headers if name == b"x-forwarded-proto"]
            if proto and proto[-1] in (b"http", b"https"):
                scope["scheme"] = proto[-1].decode()
        await self._app(scope, receive, send)

    def _client(self, forwarded: str) -> str | None:
        """The last address that no proxy of ours has: each appends whom it was asked by."""
        address = None
        for entry in reversed(forwarded.split(",")):
            try:
                address = str(ip_address(_without_port(entry.strip())))
            except ValueError:
                break  # not written by a proxy of ours
            if not within(self._proxies, address):
                break
        return address


def _without_port(text: str) -> str:
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text
