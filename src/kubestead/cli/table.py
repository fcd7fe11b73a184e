# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines a line each, in as many columns as there is room for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from rich.cells import cell_len
from rich.text import Text

from .output import one_line
from .views import View, age, called, said, state_of, style_of

_GAP = 2
_LEAST_FOR_TEXT = 24


@dataclass(frozen=True)
class Column:
    """One column. `rank`: where there is no room for all, those with the highest rank are left out."""

    heading: str
    cell: Callable[[View, datetime], str]
    rank: int
    right: bool = False
    widest: int = 0
    style: Callable[[View], str] | None = None
    always: bool = False
    """Whether it is there although no machine has anything in it."""


def _progress(view: View, _now: datetime) -> str:
    return "" if view["progress"] is None else str(view["progress"])


def _reported(view: View, now: datetime) -> str:
    # A machine that was only locked has a time, and has not reported.
    return age(view["updated_at"] if view["state"] else None, now)


def _plain(key: str) -> Callable[[View, datetime], str]:
    return lambda view, _now: one_line(view[key] or "")


_COLUMNS = (
    Column("Hostname", lambda view, _: called(view), 0, widest=32, always=True),
    Column("Role", lambda view, _: one_line(view["role"] or "-"), 5, always=True),
    Column(
        "State",
        lambda view, _: one_line(state_of(view)),
        1,
        style=lambda view: style_of(state_of(view)),
        always=True,
    ),
    Column("Lock", lambda view, _: "yes" if view["locked"] else "", 4),
    Column("Phase", _plain("phase"), 3, widest=20),
    Column("%", _progress, 3, right=True),
    Column("Reported", _reported, 2, right=True, always=True),
    Column("Address", lambda view, _: one_line(view["ip"] or view["address"] or ""), 7),
    Column("MAC", lambda view, _: one_line(view["mac"]), 6, always=True),
    Column("Features", lambda view, _: one_line(" ".join(view["features"])), 8, widest=40),
)


class MachineTable:
    """A table of machines: the heading, and any row when it is wanted."""

    def __init__(self, views: Sequence[View], width: int | None, now: datetime | None = None) -> None:
        """Fit the columns into `width`; with None there is no edge, and nothing is shortened."""
        self._views = views
        self._now = now or datetime.now(timezone.utc)
        self._width = width
        self._columns = self._fit({column.heading: self._natural(column) for column in _COLUMNS})

    def _natural(self, column: Column) -> int:
        longest = max((cell_len(column.cell(view, self._now)) for view in self._views), default=0)
        if not longest and not column.always:
            return 0
        if column.widest and self._width is not None:
            longest = min(longest, column.widest)
        return max(longest, cell_len(column.heading))

    def _fit(self, natural: dict[str, int]) -> list[tuple[Column, int]]:
        shown = [column for column in _COLUMNS if natural[column.heading]]
        if self._width is not None:
            for last in sorted(shown, key=lambda column: -column.rank):
                needed = sum(natural[column.heading] + _GAP for column in shown) + _LEAST_FOR_TEXT
                if needed <= self._width or last.rank <= 1:
                    break
                shown.remove(last)
        return [(column, natural[column.heading]) for column in shown]

    def heading(self) -> Text:
        """The names of the columns."""
        line = Text(style="bold")
        for column, width in self._columns:
            line.append_text(_padded(Text(column.heading), width, column.right))
        line.append("Message")
        return self._clipped(line)

    def row(self, index: int) -> Text:
        """One machine."""
        view = self._views[index]
        line = Text()
        for column, width in self._columns:
            style = column.style(view) if column.style else ""
            line.append_text(_padded(Text(column.cell(view, self._now), style), width, column.right))
        line.append(said(view), "red" if view["error"] else "")
        return self._clipped(line)

    def rows(self) -> list[Text]:
        """All machines."""
        return [self.row(index) for index in range(len(self._views))]

    def _clipped(self, line: Text) -> Text:
        if self._width is not None:
            line.truncate(self._width, overflow="ellipsis")
        line.rstrip()
        return line


def simple_table(headings: Sequence[str], rows: Sequence[Sequence[str | Text]]) -> list[Text]:
    """Lines of any other table: as wide as they are, the last column unbounded."""
    cells = [
        [item if isinstance(item, Text) else Text(one_line(item)) for item in row]
        for row in [headings, *rows]
    ]
    widths = [max(cell.cell_len for cell in column) for column in zip(*cells, strict=True)]
    found = []
    for number, row in enumerate(cells):
        line = Text(style="bold" if number == 0 else "")
        for cell, width in zip(row, widths, strict=True):
            line.append_text(_padded(cell, width, right=False))
        line.rstrip()
        found.append(line)
    return found


def _padded(text: Text, width: int, right: bool) -> Text:
    text = text.copy()
    text.truncate(width, overflow="ellipsis")
    room = width - text.cell_len
    text.pad_left(room if right else 0)
    text.pad_right((0 if right else room) + _GAP)
    return text
