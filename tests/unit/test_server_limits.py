# SPDX-License-Identifier: GPL-3.0-or-later
"""How much one client may ask for, and who it is."""

from __future__ import annotations

import logging
from ipaddress import ip_network
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send

from kubestead.api.limits import BehindProxy, Buckets, RateLimit, Seats, client_key
from kubestead.api.middleware import BodyLimit, RequestLog
from kubestead.api.settings import within


def test_a_bucket_gives_twice_the_rate_at_once_then_the_rate() -> None:
    buckets = Buckets(10)
    assert sum(buckets.take("a", 100.0) for _ in range(50)) == 20
    assert not buckets.take("a", 100.05)
    assert buckets.take("b", 100.05)
    taken = sum(buckets.take("a", 101 + tick / 1000) for tick in range(10_000))
    assert 100 <= taken <= 115
    assert sum(buckets.take("a", 500.0) for _ in range(50)) == 20


@given(rate=st.integers(1, 500), times=st.lists(st.floats(0, 5), max_size=300))
def test_no_client_gets_more_than_its_rate(rate: int, times: list[float]) -> None:
    buckets = Buckets(rate)
    taken = sum(buckets.take("a", moment) for moment in sorted(times))
    span = max(times, default=0) - min(times, default=0)
    assert taken <= 2 * rate + span * rate + 1


def test_who_waits_as_long_as_told_is_served() -> None:
    for rate in (1, 3, 200):
        buckets = Buckets(rate)
        while buckets.take("a", 7.0):
            pass
        assert buckets.take("a", 7.0 + buckets.seconds_until_next("a", 7.0))


def test_many_clients_are_forgotten_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubestead.api.limits._MOST_CLIENTS", 10)
    buckets = Buckets(1)
    for number in range(100):
        assert buckets.take(str(number), number / 1000)
        assert len(buckets._full_at) <= 10
    assert buckets.take("late", 1000.0)


def test_one_ipv6_network_is_one_client() -> None:
    def key(address: str) -> str:
        return client_key({"type": "http", "client": (address, 1)})

    assert key("fd00::1:2:3") == key("fd00::9")
    assert key("fd00:0:0:1::1") != key("fd00::1")
    assert key("10.0.0.1") == "10.0.0.1"
    assert client_key({"type": "http", "client": None}) == "unknown"


def test_seats_are_given_back_once() -> None:
    seats = Seats(overall=3, per_client=2)
    first, second = seats.take("10.0.0.1"), seats.take("10.0.0.1")
    assert first
    assert second
    assert seats.take("10.0.0.1") is None
    third = seats.take("10.0.0.2")
    assert third
    assert seats.take("10.0.0.3") is None
    first()
    first()
    assert seats.take("10.0.0.3")
    assert seats.take("10.0.0.3") is None
    second()
    third()
    assert seats.take("10.0.0.1")


def test_a_proxy_may_take_all_seats() -> None:
    seats = Seats(overall=5, per_client=1, proxies=(ip_network("10.0.0.0/24"),))
    assert all(seats.take("10.0.0.9") for _ in range(5))
    assert seats.take("10.0.0.9") is None


def test_addresses_within_networks() -> None:
    networks = (ip_network("10.0.0.0/24"), ip_network("fd00::/64"))
    assert within(networks, "10.0.0.7")
    assert within(networks, "::ffff:10.0.0.7")
    assert within(networks, "fd00::5%eth0")
    for address in ("10.0.1.7", "fd01::5", "testclient", "", None):
        assert not within(networks, address)
    assert not within((), "10.0.0.7")


async def _who(scope: Scope, _receive: Receive, send: Send) -> None:
    client = scope["client"]
    body = f"{client[0]} {scope['scheme']}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def who(address: str, headers: dict[str, str]) -> str:
    app = BehindProxy(_who, (ip_network("10.0.0.0/24"),))
    return TestClient(app, client=(address, 1)).get("/", headers=headers).text


def test_the_proxy_says_who_the_client_is() -> None:
    assert who("10.0.0.5", {"X-Forwarded-For": "1.1.1.1"}) == "1.1.1.1 http"
    assert who("10.0.0.5", {"X-Forwarded-For": "6.6.6.6, 1.1.1.1, 10.0.0.6"}) == "1.1.1.1 http"
    assert (
        who("10.0.0.5", {"X-Forwarded-For": "[fd00::1]:443", "X-Forwarded-Proto": "https"}) == "fd00::1 https"
    )
    assert who("10.0.0.5", {"X-Forwarded-For": "1.1.1.1:5555"}) == "1.1.1.1 http"
    assert who("10.0.0.5", {"X-Forwarded-For": "10.0.0.7"}) == "10.0.0.7 http"


def test_nobody_else_does() -> None:
    assert who("10.0.1.5", {"X-Forwarded-For": "1.1.1.1", "X-Forwarded-Proto": "https"}) == "10.0.1.5 http"
    for nonsense in ("unknown", "", "a, b", "1.1.1.1, evil", "1.1.1.999"):
        assert who("10.0.0.5", {"X-Forwarded-For": nonsense}) == "10.0.0.5 http"
    assert who("10.0.0.5", {"X-Forwarded-Proto": "gopher"}) == "10.0.0.5 http"


def test_too_many_requests_are_told_when_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubestead.api.limits.time", SimpleNamespace(monotonic=lambda: 100.0))
    asked: list[Scope] = []

    def exempt(scope: Scope) -> bool:
        asked.append(scope)
        return bool(scope["path"] == "/operator")

    client = TestClient(RequestLog(RateLimit(_who, 2, exempt)))
    assert [client.get("/").status_code for _ in range(4)] == [200] * 4
    assert asked == []
    refused = client.get("/")
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    assert "at most 2 a second" in refused.json()["detail"]
    assert refused.headers["x-correlation-id"]
    assert client.get("/operator").status_code == 200


def test_of_very_many_requests_some_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    client = TestClient(RequestLog(_who))
    with caplog.at_level(logging.INFO, "kubestead.api.middleware"):
        for _ in range(20):
            client.get("/api/states")
        assert len(caplog.records) == 20
        for _ in range(300):
            client.get("/api/states")
        assert len(caplog.records) < 250


def test_an_id_is_kept_if_it_is_one() -> None:
    client = TestClient(RequestLog(_who))
    assert client.get("/", headers={"X-Correlation-ID": "run-7"}).headers["x-correlation-id"] == "run-7"
    own = {client.get("/").headers["x-correlation-id"] for _ in range(5)}
    assert len(own) == 5
    for odd in ("", "a b", "x" * 65, 'a"b'):
        assert client.get("/", headers={"X-Correlation-ID": odd}).headers["x-correlation-id"] != odd


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_that_is_too_long(announced: bool) -> None:
    def parts() -> Any:
        for _ in range(30):
            yield b"a" * 100

    client = TestClient(BodyLimit(_who, lambda _scope: 1000))
    content = b"a" * 3000 if announced else parts()
    answer = client.post("/", content=content, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["detail"]) == (413, "the body is too long: at most 1000 bytes")
    assert (
        client.post("/", content=b"1" * 1000, headers={"Content-Type": "application/json"}).status_code == 200
    )
