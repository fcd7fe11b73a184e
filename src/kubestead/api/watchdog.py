# SPDX-License-Identifier: GPL-3.0-or-later
"""What systemd is told: ready, stopping, and now and then that all is well (sd_notify(3)).

Its watchdog starts the service anew when it hears nothing. It hears from us while the event loop turns and
the store gives an answer in time, any answer: that the database is locked or the disk is full is one as well.
A restart would mend neither, and would take the API from those who only read. What it does mend is a call
that never returns.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
import time
from collections.abc import Callable

from kubestead.store import StoreUnavailableError

log = logging.getLogger(__name__)


def notify(state: str) -> None:
    """Say something to systemd, where it has started us."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as messages:
        try:
            messages.connect("\0" + address[1:] if address.startswith("@") else address)
            messages.sendall(state.encode())
        except OSError as error:
            log.warning("systemd cannot be told %s: %s", state.partition("=")[0], error)


def notify_reloading() -> None:
    """Say that the settings are being read again; `READY=1` follows."""
    notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")


def interval() -> float | None:
    """How often the watchdog wants to hear from us: twice in the time that systemd was told. None: never."""
    microseconds, process = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not microseconds.isdigit() or not int(microseconds) or (process and process != str(os.getpid())):
        return None
    return int(microseconds) / 2_000_000


class Watchdog:
    """Asks the store at each turn, in a thread of its own, and tells systemd when it has answered."""

    def __init__(self, check: Callable[[], None], seconds: float) -> None:
        """Ask `check` every so many seconds."""
        self._check, self._seconds = check, seconds

    async def run(self) -> None:
        """Go on until cancelled."""
        status = ""
        while True:
            problem = await self._ask()
            said = problem or "all is well"
            notify("WATCHDOG=1" + (f"\nSTATUS={said}" if said != status else ""))
            status = said
            await asyncio.sleep(self._seconds)

    async def _ask(self) -> str | None:
        """Wait for the store's answer, for ever if need be: then systemd hears nothing."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[str | None] = loop.create_future()

        def settle(problem: str | None) -> None:
            if not answer.done():  # as it is when we were cancelled meanwhile
                answer.set_result(problem)

        def ask() -> None:
            problem: str | None = None
            try:
                self._check()
            except StoreUnavailableError as error:
                problem = str(error)
            except Exception as error:
                log.exception("the store cannot be asked")
                problem = f"the store cannot be asked: {error}"
            try:
                loop.call_soon_threadsafe(settle, problem)
            except RuntimeError:
                log.debug("the store answered after the end")  # the loop is closed

        # Not the pool that serves requests: a burst of those is no reason to be taken for dead.
        threading.Thread(target=ask, name="watchdog", daemon=True).start()
        return await answer
