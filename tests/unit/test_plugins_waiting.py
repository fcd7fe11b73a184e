# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for machines by the event stream: who is there, who never will be, and streams that break."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from kubestead.model.state_api_client import StateApiClient, StateApiRefusedError, StreamEvent
from kubestead.model.waiting import Progress, Watch, wait

A, B = "52:54:00:00:00:0a", "52:54:00:00:00:0b"
HEAD = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


def view(mac: str, state: str | None, **more: Any) -> dict[str, Any]:
    """A machine as the API shows it."""
    return {"mac": mac, "hostname": f"node-{mac[-1]}", "state": state, **more}


def frame(kind: str, number: int, machines: dict[str, Any], *events: dict[str, Any]) -> str:
    """An event of the stream."""
    return f"event: {kind}\nid: {number}\ndata: {json.dumps({'machines': machines, 'events': events})}\n\n"


@contextmanager
def streaming(*answers: str) -> Iterator[tuple[StateApiClient, list[str]]]:
    """An API that gives one of these to each connection and hangs up, but keeps the last one open."""
    requests: list[str] = []
    ended = threading.Event()

    def serve() -> None:
        for number, answer in enumerate(answers, 1):
            connection, _address = listener.accept()
            with connection:
                requests.append(connection.recv(65536).decode())
                connection.sendall(answer.encode())
                if number == len(answers):
                    ended.wait(20)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield StateApiClient(f"http://127.0.0.1:{listener.getsockname()[1]}", "token"), requests
        ended.set()
        thread.join(10)


def test_it_ends_when_the_last_is_there() -> None:
    watch = Watch([A, B], ["ready"])
    answer = (
        HEAD
        + frame("snapshot", 1, {A: view(A, "ready"), B: view(B, "provisioning")})
        + frame("change", 2, {A: view(A, "provisioning")})
        + frame("change", 3, {B: view(B, "ready")})
    )
    started = time.monotonic()
    with streaming(answer) as (client, _requests):
        wait(client, watch, started + 20)
    assert time.monotonic() - started < 5
    assert (watch.missing, watch.verdict(20)) == ([], "")


def test_a_state_that_was_passed_through_counts() -> None:
    watch = Watch([A], ["installed"])
    events = [
        {"mac": A, "state": "installed"},
        {"mac": A, "state": "provisioning"},
        {"mac": None, "state": None},
    ]
    watch.take(StreamEvent("change", 5, {"machines": {A: view(A, "provisioning")}, "events": events}))
    assert not watch.missing


def test_the_machines_of_others_do_not_count() -> None:
    watch = Watch([A], ["ready"])
    watch.take(StreamEvent("snapshot", 5, {"machines": {B: view(B, "failed")}}))
    assert (watch.missing, watch.over, watch.views) == ([A], False, {})


def test_it_ends_early_on_a_failure_and_says_whose_and_why() -> None:
    watch = Watch([A, B], ["ready"])
    failed = view(A, "failed", phase="join", error="no route\nto host", message="joining")
    answer = HEAD + frame("snapshot", 1, {A: failed, B: view(B, "installing", progress=40)})
    started = time.monotonic()
    with streaming(answer) as (client, _requests):
        wait(client, watch, started + 20)
    assert time.monotonic() - started < 5
    assert watch.verdict(20) == (
        "node-a failed in phase join: no route to host; it last said: joining. "
        "Not there yet: node-b is installing (40 %)."
    )


@pytest.mark.parametrize(
    ("machine", "said"),
    [
        (view(A, "failed"), "node-a failed: it gave no reason."),
        (view(A, "failed", message="disk is gone"), "node-a failed: disk is gone."),
        (view(A, "retired"), "node-a is retired; approve it first."),
    ],
)
def test_those_who_never_will_be(machine: dict[str, Any], said: str) -> None:
    watch = Watch([A], ["ready"])
    watch.learn({A: machine})
    assert watch.over
    assert watch.verdict(1) == said


def test_failed_may_be_what_is_waited_for() -> None:
    watch = Watch([A], ["failed", "ready"])
    watch.learn({A: view(A, "failed")})
    assert (watch.over, watch.verdict(1)) == (True, "")


def test_when_the_time_is_over_it_says_who_is_not_there() -> None:
    watch = Watch([A, B], ["installed", "ready"])
    watch.learn({A: view(A, None)})
    with streaming(HEAD + frame("snapshot", 1, {A: view(A, None)})) as (client, requests):
        wait(client, watch, time.monotonic() + 0.3, last_id=7)
    assert watch.verdict(0.3) == (
        f"Not installed or ready after 0.3 seconds: node-a has not reported yet; {B} has not reported yet."
    )
    assert "Last-Event-ID: 7" in requests[0]


def test_a_stream_that_breaks_goes_on_where_it_was() -> None:
    watch = Watch([A], ["ready"])
    busy = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
    first = HEAD + frame("snapshot", 41, {A: view(A, "provisioning")})
    last = HEAD + frame("snapshot", 50, {A: view(A, "ready")})
    with streaming(first, busy, "", last) as (client, requests):
        wait(client, watch, time.monotonic() + 20)
    assert (watch.missing, watch.error) == ([], "")
    assert ["Last-Event-ID: 41" in request for request in requests] == [False, True, True, True]


def test_an_api_that_is_gone_is_told_of_when_the_time_is_over() -> None:
    watch = Watch([A], ["ready"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        client = StateApiClient(f"http://127.0.0.1:{free.getsockname()[1]}")
        wait(client, watch, time.monotonic() + 0.3)
    assert watch.verdict(0.3).endswith("connection refused.")


def test_a_refusal_is_none_to_wait_for() -> None:
    refusal = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
    with streaming(refusal) as (client, _requests), pytest.raises(StateApiRefusedError):
        wait(client, Watch([A], ["ready"]), time.monotonic() + 20)


def test_installed_counts_only_from_its_first_boot_on() -> None:
    watch = Watch([A], ["installed", "ready"], installed_phase="first-boot")
    watch.learn({A: view(A, "installed", phase="done")})
    assert watch.missing == [A]
    watch.learn({A: view(A, "installed", phase="first-boot")})
    assert not watch.missing
    other = Watch([A], ["installed", "ready"], installed_phase="first-boot")
    other.learn({A: view(A, "ready", phase="validate")})
    assert not other.missing


def test_one_that_fails_may_begin_anew_while_the_others_are_waited_for() -> None:
    now = [100.0]
    watch = Watch([A, B], ["installed"], grace=30, clock=lambda: now[0])
    watch.learn({A: view(A, "installing", since="1"), B: view(B, "installing", since="1")})
    watch.learn({A: view(A, "failed", since="2", error="no space")})
    assert (watch.hopeless, watch.over, watch.look_again) == ([], False, 130.0)
    watch.learn({A: view(A, "installing", since="3")})
    now[0] = 140
    assert (watch.hopeless, watch.look_again) == ([], None)
    watch.learn({A: view(A, "failed", since="4", error="no space")})
    now[0] = 170
    assert (watch.hopeless, watch.over) == ([A], False)
    watch.learn({B: view(B, "installed", since="5")})
    assert watch.over
    assert watch.reasons(60) == {A: "node-a failed: no space."}


def test_one_that_had_failed_before_has_all_the_time() -> None:
    now = [0.0]
    watch = Watch([A], ["installed"], grace=30, clock=lambda: now[0])
    watch.learn({A: view(A, "failed", since="1", error="no space")})
    now[0] = 1000
    assert not watch.over
    watch.learn({A: view(A, "failed", since="2", error="no space")})
    assert watch.reasons(1000) == {A: "node-a failed: no space."}


def test_a_failure_ends_the_wait_when_its_grace_is_over() -> None:
    answer = HEAD + frame("snapshot", 1, {A: view(A, "installing", since="1")})
    failed = frame("change", 2, {A: view(A, "failed", since="2", error="no disk")})
    watch = Watch([A], ["installed"], grace=0.4)
    started = time.monotonic()
    with streaming(answer + failed, HEAD) as (client, requests):
        wait(client, watch, started + 20)
    assert 0.3 < time.monotonic() - started < 5
    assert watch.hopeless == [A]
    assert "last-event-id: 2" in requests[1].lower()


def test_what_is_told_meanwhile() -> None:
    now = [0.0]
    watch = Watch([A, B], ["installed"], clock=lambda: now[0])
    progress = Progress(5, lambda: now[0])
    assert progress.lines(watch) == []
    watch.learn({A: view(A, "installing", phase="download", progress=5), B: view(B, None)})
    assert progress.lines(watch) == ["node-a               installing, download, 5 %"]
    watch.learn({A: view(A, "installing", phase="download", progress=6)})
    assert progress.lines(watch) == []
    now[0] = 6
    assert progress.lines(watch) == ["node-a               installing, download, 6 %"]
    watch.learn({A: view(A, "installing", phase="disk", progress=50, message="writes\nit")})
    assert progress.lines(watch) == ["node-a               installing, disk, 50 %: writes it"]
    assert progress.lines(watch) == []
    watch.error = "connection refused"
    assert "connection refused" in progress.lines(watch)[0]
    assert progress.lines(watch) == []
