# SPDX-License-Identifier: GPL-3.0-or-later
"""A terminal taken over as a whole: the picture, the keys, and how it is given back whatever happens."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import sys
import termios
import tty
from collections.abc import Callable, Sequence
from types import FrameType, TracebackType
from typing import Any

from rich.text import Text

from .output import console

_ENTER = "\x1b[?1049h\x1b[?25l\x1b[2J"
_LEAVE = "\x1b[0m\x1b[?25h\x1b[?1049l"
_KEYS = {
    "\x1b[A": "up",
    "\x1b[B": "down",
    "\x1bOA": "up",
    "\x1bOB": "down",
    "\x1b[5~": "page-up",
    "\x1b[6~": "page-down",
    "\x1b[H": "home",
    "\x1bOH": "home",
    "\x1b[1~": "home",
    "\x1b[F": "end",
    "\x1bOF": "end",
    "\x1b[4~": "end",
    "\x1b": "escape",
    "\r": "enter",
    "\n": "enter",
    "\x7f": "backspace",
    "\x08": "backspace",
}
_ONE_KEY = re.compile(r"\x1b\[[0-9;]*[A-Za-z~]|\x1bO[A-Za-z]|\x1b|.", re.DOTALL)
_HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT)


class Screen:
    """The terminal, taken over in a `with` statement. Keys and signals are waited for together."""

    def __init__(self) -> None:
        """Nothing is changed yet."""
        self._shown: list[str] = []
        self._settings: list[int | list[bytes | int]] | None = None
        self._handlers: dict[int, Callable[[int, FrameType | None], Any] | int | None] = {}
        self._wake_out, self._wake_in = os.pipe()
        self._came: set[int] = set()
        self._old_wakeup = -1

    def __enter__(self) -> Screen:
        os.set_blocking(self._wake_in, False)
        os.set_blocking(self._wake_out, False)
        for number in _HANDLED:
            self._handlers[number] = signal.signal(number, self._note)
        self._old_wakeup = signal.set_wakeup_fd(self._wake_in, warn_on_full_buffer=False)
        self._take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._give_back()
        signal.set_wakeup_fd(self._old_wakeup)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        os.close(self._wake_in)
        os.close(self._wake_out)

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines, as they are now."""
        try:
            size = os.get_terminal_size(sys.stdout.fileno())
        except OSError:
            return 80, 24
        return max(size.columns, 20), max(size.lines, 6)

    def wake(self) -> None:
        """Let `wait` return; for other threads."""
        with contextlib.suppress(BlockingIOError, OSError):
            os.write(self._wake_in, b"\0")

    def draw(self, picture: Sequence[Text]) -> None:
        """Show lines; only those that have changed are written."""
        columns, height = self.size
        lines = [_rendered(line, columns) for line in picture[:height]]
        lines += [""] * (height - len(lines))
        out = [
            f"\x1b[{number + 1};1H{line}\x1b[0m\x1b[K"
            for number, line in enumerate(lines)
            if number >= len(self._shown) or self._shown[number] != line
        ]
        self._shown = lines
        if out:
            sys.stdout.write("".join(out))
            sys.stdout.flush()

    def wait(self, seconds: float) -> list[str]:
        """Wait for keys, a signal, `wake` or the time; return the keys. Ctrl-C is a KeyboardInterrupt."""
        sources = [self._wake_out]
        if self._settings is not None:
            sources.append(sys.stdin.fileno())
        ready, _, _ = select.select(sources, [], [], seconds)
        if self._wake_out in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_out, 4096)
            self._obey_signals()
        return self._keys() if len(sources) > 1 and sources[1] in ready else []

    def _obey_signals(self) -> None:
        came, self._came = self._came, set()
        if signal.SIGINT in came:
            raise KeyboardInterrupt
        for number in (signal.SIGTERM, signal.SIGHUP):
            if number in came:
                raise SystemExit(128 + number)
        if signal.SIGTSTP in came:
            self._give_back()
            signal.signal(signal.SIGTSTP, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTSTP)
            signal.signal(signal.SIGTSTP, self._note)
            self._take()
        if came & {signal.SIGWINCH, signal.SIGCONT}:
            self._shown = []
            sys.stdout.write("\x1b[2J")

    def _keys(self) -> list[str]:
        try:
            data = os.read(sys.stdin.fileno(), 1024)
        except OSError:
            data = b""
        if not data:  # the terminal is gone
            raise SystemExit(128 + signal.SIGHUP)
        text = data.decode("utf-8", "ignore")
        return [_KEYS.get(key, key) for key in _ONE_KEY.findall(text)]

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._came.add(number)

    def _take(self) -> None:
        if sys.stdin.isatty():
            self._settings = termios.tcgetattr(sys.stdin)
            tty.setcbreak(sys.stdin, termios.TCSANOW)
        self._shown = []
        sys.stdout.write(_ENTER)
        sys.stdout.flush()

    def _give_back(self) -> None:
        with contextlib.suppress(OSError):  # a terminal that is gone
            sys.stdout.write(_LEAVE)
            sys.stdout.flush()
        if self._settings is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(sys.stdin, termios.TCSANOW, self._settings)
            self._settings = None


def _rendered(line: Text, columns: int) -> str:
    """A line as the terminal wants it, cut at its edge."""
    line = line.copy()
    line.truncate(columns, overflow="ellipsis")
    screen = console()
    with screen.capture() as captured:
        screen.print(line, end="", soft_wrap=True)
    return captured.get()
