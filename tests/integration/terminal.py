# SPDX-License-Identifier: GPL-3.0-or-later
"""A terminal for a program that takes it over: it keeps what stands on the screen, and presses keys."""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType

_PIECE = re.compile(rb"\x1b\[([0-9;?]*)([A-Za-z])|[^\x1b]+|\x1b")
PATIENCE = 30


class Terminal:
    """A program on a pseudo-terminal of its own. It knows the few sequences that our screen writes."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], columns: int = 80, lines: int = 24
    ) -> None:
        """Start the program."""
        self._end, inside = os.openpty()
        self.resize(columns, lines)
        self.before = termios.tcgetattr(inside)
        self._inside = inside
        self.process = subprocess.Popen(
            command,
            env={**environment, "TERM": "xterm-256color"},
            stdin=inside,
            stdout=inside,
            stderr=inside,
            start_new_session=True,
        )
        self.raw = b""
        self._screen: dict[int, str] = {}
        self._line = 1

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._end)
        os.close(self._inside)

    def resize(self, columns: int, lines: int) -> None:
        """Give the terminal another size; who is in it is told by a signal."""
        fcntl.ioctl(self._end, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        if hasattr(self, "process"):
            self.process.send_signal(28)  # SIGWINCH: the kernel tells only a terminal's own foreground group

    def press(self, keys: str) -> None:
        """Press keys."""
        os.write(self._end, keys.encode())

    @property
    def lines(self) -> list[str]:
        """What stands on the screen."""
        return [
            self._screen.get(number, "").rstrip() for number in range(1, max(self._screen, default=0) + 1)
        ]

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        """Read what the program writes until something is true."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"{what} has not come: {self.lines}\n{self.raw[-500:]!r}"
            self._read(0.2)

    def wait_for_text(self, text: str) -> None:
        """Wait until something stands on the screen."""
        self.wait_for(lambda: any(text in line for line in self.lines), text)

    def wait_for_end(self) -> int:
        """Wait until the program has ended; return its exit code."""
        self.wait_for(lambda: self.process.poll() is not None, "the end")
        self._read(0)
        return self.process.wait()

    def settings(self) -> list[object]:
        """How the terminal is set."""
        return list(termios.tcgetattr(self._inside))

    def _read(self, seconds: float) -> None:
        if not select.select([self._end], [], [], seconds)[0]:
            return
        data = os.read(self._end, 65536)
        self.raw += data
        # A piece that ends within a sequence is waited for.
        while re.search(rb"\x1b(\[[0-9;?]*)?$", data) and select.select([self._end], [], [], 1)[0]:
            more = os.read(self._end, 65536)
            self.raw += more
            data += more
        self._obey(data)

    def _obey(self, data: bytes) -> None:
        for piece in _PIECE.finditer(data):
            arguments, verb = piece[1], piece[2]
            if verb == b"H":
                self._line = int(arguments.split(b";")[0] or 1)
                self._screen[self._line] = ""
            elif verb == b"J":
                self._screen.clear()
            elif verb is None:
                text = piece[0].decode("utf-8", "replace")
                self._screen[self._line] = self._screen.get(self._line, "") + text
