# SPDX-License-Identifier: GPL-3.0-or-later
"""What systemd hears, and when it hears nothing."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kubestead.api.watchdog import Watchdog, interval, notify, notify_reloading
from kubestead.store import StoreUnavailableError


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(address)
        listening.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        yield listening


def test_systemd_is_told(systemd: socket.socket) -> None:
    notify("READY=1")
    assert systemd.recv(100) == b"READY=1"
    notify_reloading()
    lines = systemd.recv(100).decode().split("\n")
    assert lines[0] == "RELOADING=1"
    assert lines[1].startswith("MONOTONIC_USEC=")


def test_without_systemd_nothing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    notify("READY=1")


@pytest.mark.parametrize(
    ("microseconds", "process", "seconds"),
    [
        ("30000000", None, 15.0),
        ("30000000", "this one", 15.0),
        ("30000000", "1", None),
        ("", None, None),
        ("0", None, None),
        ("soon", None, None),
    ],
)
def test_how_often(
    monkeypatch: pytest.MonkeyPatch, microseconds: str, process: str | None, seconds: float | None
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", microseconds)
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    if process:
        monkeypatch.setenv("WATCHDOG_PID", process.replace("this one", str(os.getpid())))
    assert interval() == seconds


def heard(systemd: socket.socket, check: Callable[[], None], messages: int) -> list[str]:
    """What systemd hears of a watchdog, until so many messages are in."""

    async def listen() -> list[str]:
        running = asyncio.create_task(Watchdog(check, 0.01).run())
        try:
            return [(await asyncio.to_thread(systemd.recv, 1000)).decode() for _ in range(messages)]
        finally:
            running.cancel()

    return asyncio.run(listen())


def test_all_is_well(systemd: socket.socket) -> None:
    assert heard(systemd, lambda: None, 3) == ["WATCHDOG=1\nSTATUS=all is well", "WATCHDOG=1", "WATCHDOG=1"]


def test_a_locked_store_is_told_and_is_no_reason_to_die(systemd: socket.socket) -> None:
    answers = iter([StoreUnavailableError("database is locked")] * 2)

    def check() -> None:
        if (problem := next(answers, None)) is not None:
            raise problem

    assert heard(systemd, check, 4) == [
        "WATCHDOG=1\nSTATUS=database is locked",
        "WATCHDOG=1",
        "WATCHDOG=1\nSTATUS=all is well",
        "WATCHDOG=1",
    ]


def test_a_store_that_never_answers_is(systemd: socket.socket) -> None:
    asked, release = threading.Event(), threading.Event()

    def hang() -> None:
        asked.set()
        release.wait(30)

    async def listen() -> None:
        running = asyncio.create_task(Watchdog(hang, 0.01).run())
        await asyncio.to_thread(asked.wait, 5)
        systemd.settimeout(0.2)
        with pytest.raises(TimeoutError):
            await asyncio.to_thread(systemd.recv, 1000)
        release.set()
        systemd.settimeout(5)
        assert (await asyncio.to_thread(systemd.recv, 1000)).startswith(b"WATCHDOG=1")
        running.cancel()

    asyncio.run(listen())
