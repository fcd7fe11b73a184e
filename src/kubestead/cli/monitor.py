# SPDX-License-Identifier: GPL-3.0-or-later
"""`kubestead monitor`: the machines as they change."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from rich.text import Text

from kubestead.exit_codes import ExitCode
from kubestead.model.state_api_client import StateApiError, StateApiRefusedError, StateApiUnreachableError

from .errors import CliError
from .output import console, one_line, print_json, show, width
from .screen import Screen
from .session import Session
from .table import MachineTable
from .views import View, summary

_FIRST_WAIT, _LONGEST_WAIT = 0.5, 5.0
_TICK = 1.0


def monitor(session: Session, once: bool) -> None:
    """Show the machines once, or until `q` or Ctrl-C."""
    if once:
        views = session.api.machines()
        if session.json:
            print_json(views)
            return
        table = MachineTable(list(views.values()), width())
        show(summary(views), "", table.heading(), *table.rows())
        return
    if session.json:
        raise CliError(
            "monitor shows a picture that changes",
            "--json goes with --once; `kubestead events --follow --json` prints what happens.",
            ExitCode.WRONG_INPUT,
        )
    if not sys.stdout.isatty() or console().is_dumb_terminal:
        raise CliError(
            "monitor needs a terminal", "`kubestead monitor --once` does not.", ExitCode.WRONG_INPUT
        )
    # An API that is not there at the start ends the command; later it may come back.
    feed = Feed(session, session.api.machines())
    with Screen() as screen:
        feed.start(screen)
        _run(screen, feed, Picture(session.api.url))


class Feed:
    """What the API says, kept by a thread of its own that follows the event stream."""

    def __init__(self, session: Session, views: dict[str, View]) -> None:
        """Begin with what is known already."""
        self._session = session
        self._lock = threading.Lock()
        self._views = views
        self._registry: Mapping[str, Any] = {}
        self._trouble = ""
        self._stopped = threading.Event()

    def start(self, screen: Screen) -> None:
        """Follow the stream from now on, and wake the screen at each change."""
        threading.Thread(target=self._follow, args=[screen], daemon=True).start()

    def look(self) -> tuple[dict[str, View], Mapping[str, Any], str]:
        """The machines, the registry's condition, and what is wrong with the connection."""
        with self._lock:
            return dict(self._views), self._registry, self._trouble

    def _follow(self, screen: Screen) -> None:
        wait = _FIRST_WAIT
        while True:
            try:
                for event in self._session.client().stream():
                    wait = _FIRST_WAIT
                    self._take(event.event, event.data)
                    screen.wake()
                trouble = f"{self._session.url}: the stream has ended"
            except StateApiUnreachableError as error:
                trouble = str(error)
            except StateApiRefusedError as error:
                trouble = error.detail or str(error)
            except StateApiError as error:
                trouble = str(error)
            with self._lock:
                self._trouble = trouble
            screen.wake()
            self._stopped.wait(wait)
            wait = min(wait * 2, _LONGEST_WAIT)

    def _take(self, kind: str, data: Mapping[str, Any]) -> None:
        machines = data.get("machines", {})
        with self._lock:
            self._trouble = ""
            if kind == "snapshot":
                self._views = dict(machines)
            else:
                self._views.update(machines)
            self._views = {mac: view for mac, view in self._views.items() if view}
            self._registry = data.get("registry") or self._registry


@dataclass
class Picture:
    """What is shown, and what the person at the keys has chosen to see."""

    url: str
    first: int = 0
    failed_only: bool = False
    search: str = ""
    typing: bool = False
    ended: bool = False
    _page: int = field(default=10, init=False)

    def press(self, key: str) -> None:
        """Obey a key."""
        if self.typing:
            self._type(key)
        elif key in ("q", "Q"):
            self.ended = True
        elif key in ("f", "F"):
            self.failed_only, self.first = not self.failed_only, 0
        elif key == "/":
            self.typing, self.search, self.first = True, "", 0
        elif key == "escape":
            self.failed_only, self.search, self.first = False, "", 0
        else:
            page = self._page
            moves = {"up": -1, "k": -1, "down": 1, "j": 1, "page-up": -page, "page-down": page, " ": page}
            ends = {"home": 0, "g": 0, "end": sys.maxsize, "G": sys.maxsize}
            self.first = ends.get(key, max(0, self.first + moves.get(key, 0)))

    def _type(self, key: str) -> None:
        if key in ("enter", "escape"):
            self.typing = False
            self.search = "" if key == "escape" else self.search
        elif key == "backspace":
            self.search = self.search[:-1]
        elif len(key) == 1 and key.isprintable():
            self.search += key
        self.first = 0

    def lines(
        self,
        views: Mapping[str, View],
        registry: Mapping[str, Any],
        trouble: str,
        size: tuple[int, int],
        now: datetime,
    ) -> list[Text]:
        """The picture, as many lines as the terminal has."""
        columns, height = size
        chosen = [view for view in views.values() if self._chooses(view)]
        table = MachineTable(chosen, columns, now)
        told = summary(views).wrap(console(), columns)
        head = [self._title(trouble, now), *told, *_registry_lines(registry), Text(), table.heading()]
        room = max(1, height - len(head) - 1)
        self._page = room
        self.first = max(0, min(self.first, len(chosen) - room))
        last = min(len(chosen), self.first + room)
        body = [table.row(index) for index in range(self.first, last)]
        body += [Text()] * (room - len(body))
        return [*head, *body, self._foot(self.first, last, len(chosen), columns)]

    def _chooses(self, view: View) -> bool:
        if self.failed_only and view["state"] != "failed":
            return False
        wanted = self.search.lower()
        values = (view["hostname"], view["mac"], view["role"], view["state"], view["phase"], view["message"])
        return not wanted or any(wanted in str(value).lower() for value in values if value)

    def _title(self, trouble: str, now: datetime) -> Text:
        title = Text(f"{now:%H:%M:%S} UTC  ", "dim")
        if trouble:
            return title.append(
                f"no connection, shown is what was said last: {one_line(trouble)}", "bold red"
            )
        return title.append(one_line(self.url), "dim")

    def _foot(self, first: int, last: int, number: int, columns: int) -> Text:
        if self.typing:
            return Text(f"search: {one_line(self.search)}▏ (Enter keeps it, Esc clears it)", "bold")
        shown = f"{first + 1}-{last} of {number}" if number else "none"
        parts = [shown]
        if self.failed_only:
            parts.append("failed only")
        if self.search:
            parts.append(f"with “{one_line(self.search)}”")
        keys = "q quit  ↑↓ PgUp PgDn scroll  f failed  / search"
        if self.failed_only or self.search:
            keys += "  Esc all"
        foot = Text(f"{', '.join(parts)}   {keys}", "reverse")
        foot.truncate(columns, overflow="ellipsis", pad=True)
        return foot


def _registry_lines(registry: Mapping[str, Any]) -> list[Text]:
    condition = registry.get("condition", "ok")
    if condition == "ok":
        return []
    problems = registry.get("problems") or []
    line = Text(f"registry {one_line(condition)}", "bold red")
    if problems:
        line.append(f": {one_line(problems[0])}", "red")
    if len(problems) > 1:
        line.append(f" (and {len(problems) - 1} more)", "red")
    return [line]


def _run(screen: Screen, feed: Feed, picture: Picture) -> None:
    while not picture.ended:
        views, registry, trouble = feed.look()
        now = datetime.now(timezone.utc)
        screen.draw(picture.lines(views, registry, trouble, screen.size, now))
        for key in screen.wait(_TICK):
            picture.press(key)
