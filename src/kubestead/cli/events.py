# SPDX-License-Identifier: GPL-3.0-or-later
"""What happened: the events of the store, and those that come."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.text import Text

from kubestead.model.state_api_client import (
    StateApiClient,
    StateApiError,
    StateApiUnreachableError,
)

from .names import find
from .options import MaybeMachine
from .output import as_json, note, one_line, print_json, show
from .session import Session
from .views import View, called, style_of

_PAGE = 500
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 10.0

Event = dict[str, Any]


def show_events(
    session: Session,
    machine: MaybeMachine = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on as they happen, until Ctrl-C.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", help="How many of the newest.", min=1, max=500)] = 50,
) -> None:
    """Show what happened, the newest last."""
    views = session.api.machines()
    mac = None if machine is None else find(views, machine)
    newest: list[Event] = session.api.events(mac=mac, limit=limit)
    found = list(reversed(newest))
    if not follow:
        if session.json:
            print_json(found)
        else:
            show(*event_lines(found, views))
        return
    _print_each(session, found, views)
    last = max((event["id"] for event in found), default=0)
    if not last:
        last = max((event["id"] for event in session.api.events(limit=1)), default=0)
    _follow(session, mac, last, dict(views))


def _follow(session: Session, mac: str | None, last: int, views: dict[str, View]) -> None:
    """Print events as they happen, until Ctrl-C; an API that goes away is waited for."""
    wait, gone = _FIRST_WAIT, False
    while True:
        try:
            # The stream says when to look; what is printed comes by number, so that nothing is left out.
            for frame in session.api.stream([mac] if mac else [], last):
                if gone:
                    note("The State API is back.")
                wait, gone = _FIRST_WAIT, False
                views.update({key: view for key, view in frame.data.get("machines", {}).items() if view})
                last = _catch_up(session, session.api, mac, last, views)
        except StateApiError as error:
            if not isinstance(error, StateApiUnreachableError) and not getattr(error, "temporary", False):
                raise
            if not gone:
                note(f"kubestead: the State API is gone: {error}. Waiting for it; Ctrl-C ends.")
            gone = True
            time.sleep(wait)
            wait = min(wait * 2, _LONGEST_WAIT)


def _catch_up(
    session: Session, client: StateApiClient, mac: str | None, last: int, views: Mapping[str, View]
) -> int:
    while True:
        found = client.events(after=last, mac=mac, limit=_PAGE)
        _print_each(session, found, views)
        last = max((event["id"] for event in found), default=last)
        if len(found) < _PAGE:
            return last


def _print_each(session: Session, found: Sequence[Event], views: Mapping[str, View]) -> None:
    if session.json:
        for event in found:
            print(as_json(event, None), flush=True)
    elif found:
        show(*event_lines(found, views))


def event_lines(found: Sequence[Event], views: Mapping[str, View]) -> list[Text]:
    """A line for each event; with `views` each names its machine."""
    return [_line(event, views) for event in found]


def _line(event: Event, views: Mapping[str, View]) -> Text:
    line = Text(f"{one_line(event['at'])[:19].replace('T', ' ')}  ", "dim")
    if views:
        mac = event["mac"]
        name = called(views[mac]) if mac in views else one_line(mac or "-")
        line.append(f"{name:<17}  ", "default")
    state, before = event["state"], event["previous_state"]
    if event["kind"] in ("report", "transition", "deadline") and state:
        moved = before and before != state
        words = f"{one_line(before)} → {one_line(state)}" if moved else one_line(state)
        line.append(words, style_of(state))
    else:
        line.append(one_line(event["kind"]), "bold")
    for text, style in (
        (one_line(event["phase"] or ""), "default"),
        ("" if event["progress"] is None else f"{event['progress']} %", "default"),
        (one_line(event["message"] or ""), "default"),
        (one_line(event["error"] or ""), "red"),
        (f"({one_line(event['actor'])})" if event["actor"] else "", "dim"),
    ):
        if text:
            line.append(f"  {text}", style)
    return line
