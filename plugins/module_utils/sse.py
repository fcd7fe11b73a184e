# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Server-sent events (text/event-stream), taken apart as their bytes come in."""

from __future__ import annotations

import codecs
import typing as t

_FRAME_LIMIT = 64 * 1024 * 1024


class Frame(t.NamedTuple):
    """One event as it was sent; `id` is the last one that the stream has named, empty before the first."""

    event: str
    id: str
    data: str


class FrameParser:
    """Takes bytes in pieces of any size and gives the frames that they complete."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest: t.List[str] = []  # the beginning of a line whose end has not come yet
        self._size = 0
        self._event = ""
        self._data: t.List[str] = []
        self._id = ""

    def feed(self, piece: bytes) -> t.List[Frame]:
        """The frames that `piece` completes; ValueError for one that never seems to end."""
        text = self._decoder.decode(piece)
        self._size += len(text)
        if "\n" not in text:
            self._rest.append(text)
            if self._size > _FRAME_LIMIT:
                raise ValueError("an event of the stream is too long")
            return []
        lines = ("".join(self._rest) + text).split("\n")
        self._rest = [lines.pop()]
        frames = [frame for frame in map(self._line, lines) if frame is not None]
        if frames:
            self._size = len(self._rest[0])
        elif self._size > _FRAME_LIMIT:
            raise ValueError("an event of the stream is too long")
        return frames

    def _line(self, line: str) -> t.Optional[Frame]:
        line = line[:-1] if line.endswith("\r") else line
        if not line:
            return self._end()
        name, _colon, value = line.partition(":")
        value = value[1:] if value.startswith(" ") else value
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id" and "\0" not in value:
            self._id = value
        return None  # a comment, or a field that is not for us

    def _end(self) -> t.Optional[Frame]:
        event, data = self._event or "message", self._data
        self._event, self._data = "", []
        return Frame(event, self._id, "\n".join(data)) if data else None
