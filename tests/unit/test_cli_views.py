# SPDX-License-Identifier: GPL-3.0-or-later
"""How machines look in a terminal: as many columns as there is room for, and nothing that it would obey."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from kubestead.cli import output
from kubestead.cli.monitor import Picture
from kubestead.cli.table import MachineTable
from kubestead.cli.views import said, view_of
from kubestead.model.machine import Machine

# What a terminal takes for an order: control characters, and a turn of the direction of writing.
OBEYED = {*map(chr, range(32)), *map(chr, range(127, 160)), "\u202e"}
NOW = datetime(2026, 1, 2, tzinfo=timezone.utc)


def view(number: int, **values: Any) -> dict[str, Any]:
    """A machine that has reported."""
    machine = Machine(
        mac=f"52:54:00:77:00:{number:02x}",
        hostname=f"node-{number:03}",
        role="worker",
        architecture="amd64",
        features=("kubernetes", "gpu"),
        ip=f"10.0.0.{number}",
    )
    reported = {"state": "provisioning", "phase": "prepare", "progress": 7, "message": "packages, " * 20}
    return {**view_of(machine), **reported, "updated_at": "2026-01-01T23:59:00Z", **values}


@pytest.mark.parametrize(
    ("width", "columns"),
    [
        (40, "Hostname State Message"),
        (60, "Hostname State Reported Message"),
        (80, "Hostname Role State Phase % Reported Message"),
        (100, "Hostname Role State Phase % Reported MAC Message"),
        (120, "Hostname Role State Phase % Reported Address MAC Message"),
        (200, "Hostname Role State Phase % Reported Address MAC Features Message"),
        (None, "Hostname Role State Phase % Reported Address MAC Features Message"),
    ],
)
def test_columns_give_way_to_the_message(width: int | None, columns: str) -> None:
    table = MachineTable([view(1), view(2)], width, NOW)
    assert table.heading().plain.split() == columns.split()
    for line in (table.heading(), *table.rows()):
        assert width is None or line.cell_len <= width
    if width is None:
        assert table.row(0).plain.endswith("packages,")


def test_empty_columns_are_left_out() -> None:
    silent = view(1, state=None, phase=None, progress=None, message=None, updated_at=None)
    assert MachineTable([silent], 200, NOW).heading().plain.split()[:5] == [
        "Hostname", "Role", "State", "Reported", "Address",
    ]  # fmt: skip
    assert "Lock" in MachineTable([view(1, locked=True)], 200, NOW).heading().plain
    assert MachineTable([], 80, NOW).rows() == []


def test_a_machine_without_a_name_is_called_by_its_mac() -> None:
    stranger = view(1, hostname=None, role=None)
    assert MachineTable([stranger], 60, NOW).row(0).plain.startswith("52:54:00:77:00:01  ")


def test_what_is_wrong_is_said_first() -> None:
    assert said(view(1, message="writing", error="no space")) == "no space (writing)"
    assert said(view(1, message="no space left", error="no space")) == "no space left"
    assert said(view(1, message=None, error="no space")) == "no space"
    assert said(view(1, message=None)) == ""


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=60), st.integers(20, 200))
def test_no_text_leaves_its_line_or_is_obeyed(text: str, width: int) -> None:
    hostile = view(1, hostname=text or None, message=text, error=text, phase=text, state=text or None)
    for line in MachineTable([hostile], width, NOW).rows():
        assert line.cell_len <= width
        assert not set(line.plain) & OBEYED
    for each in (output.one_line(text), output.lines(text), output.as_json(text)):
        assert not set(each) & (OBEYED - {"\t", "\n"})


def picture(**chosen: Any) -> Picture:
    return Picture("https://10.0.0.10:8080", **chosen)


def drawn(shown: Picture, views: list[dict[str, Any]], size: tuple[int, int] = (80, 10)) -> list[str]:
    machines = {each["mac"]: each for each in views}
    lines: list[Text] = shown.lines(machines, {}, "", size, NOW)
    assert len(lines) == size[1]
    assert all(line.cell_len <= size[0] for line in lines)
    return [line.plain for line in lines]


def test_the_picture_fills_the_terminal_and_scrolls_within_it() -> None:
    views = [view(number) for number in range(12)]
    shown = picture()
    assert drawn(shown, views)[-1].startswith("1-5 of 12")
    for key, first in (
        ("down", 2),
        ("page-down", 7),
        ("end", 8),
        ("down", 8),
        ("page-up", 3),
        ("home", 1),
        ("up", 1),
    ):
        shown.press(key)
        lines = drawn(shown, views)
        assert lines[-1].startswith(f"{first}-{first + 4} of 12"), key
        assert lines[4].startswith(f"node-{first - 1:03}")
    assert drawn(shown, views[:2])[-1].startswith("1-2 of 2")
    assert drawn(shown, [])[-1].startswith("none")


def test_the_picture_is_searched() -> None:
    views = [view(1), view(2, state="failed", error="[disk]"), view(3, message="disk found")]
    shown = picture()
    for key in "/DISK":
        shown.press(key)
    lines = drawn(shown, views)
    assert lines[-1].startswith("search: DISK")
    assert [line.split()[0] for line in lines[4:-1] if line] == ["node-003"]
    shown.press("backspace")
    shown.press("q")
    assert (shown.search, shown.ended) == ("DISq", False)
    shown.press("escape")
    shown.press("f")
    assert [line.split()[0] for line in drawn(shown, views)[4:-1] if line] == ["node-002"]
    shown.press("escape")
    assert drawn(shown, views)[-1].startswith("1-3 of 3")
    shown.press("q")
    assert shown.ended


def test_trouble_and_a_wrong_registry_are_on_the_picture() -> None:
    registry = {"condition": "invalid", "problems": ["r.json: a", "r.json: b"]}
    lines = picture().lines({}, registry, "connection refused", (80, 24), NOW)
    assert "no connection, shown is what was said last: connection refused" in lines[0].plain
    assert lines[2].plain == "registry invalid: r.json: a (and 1 more)"
