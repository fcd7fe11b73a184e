# SPDX-License-Identifier: GPL-3.0-or-later
"""Lengths of time as people write them."""

from __future__ import annotations

import re

_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_PATTERN = re.compile(r"([0-9]{1,9})(s|min|m|h|d|w)")


def seconds(text: str) -> int:
    """`90s`, `15m`, `12h`, `30d`, `2w` in seconds; ValueError for anything else."""
    found = _PATTERN.fullmatch(text.strip().lower())
    if not found or not int(found[1]):
        raise ValueError(f"{text!r} is no length of time, expected a number and s, m, h, d or w, such as 30d")
    return int(found[1]) * _UNITS[found[2]]
