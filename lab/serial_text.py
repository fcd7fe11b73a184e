# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine said on its serial port, for a person: firmware paints a screen there."""

from __future__ import annotations

import re
from pathlib import Path

#: So many of its last lines say how a machine ended.
LAST = 15


def last_lines(serial_log: Path, count: int = LAST) -> list[str]:
    """Return the last lines of a serial port, without what moves the cursor and colours the text."""
    with serial_log.open("rb") as stream:
        stream.seek(max(0, serial_log.stat().st_size - (64 << 10)))
        return plain(stream.read()).splitlines()[-count:]


def plain(said: bytes) -> str:
    """Return the lines of a serial port that say something."""
    text = re.sub(r"\x1b\[[0-9;?=]*[ -/]*[@-~]|\x1b[ -/]*[0-~]", "", said.decode(errors="replace"))
    lines = ("".join(filter(str.isprintable, line)).rstrip() for line in re.split(r"[\r\n]+", text))
    return "\n".join(line for line in lines if line)
