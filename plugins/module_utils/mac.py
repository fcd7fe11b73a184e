# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""MAC addresses: one normal form (lower case, colons) for the notations that people and tools write."""

from __future__ import annotations

import re

_NORMAL = re.compile(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}")
_NOTATIONS = (
    re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}"),  # 52:54:00:77:00:11
    re.compile(r"[0-9a-f]{2}(?:-[0-9a-f]{2}){5}"),  # 52-54-00-77-00-11 (Windows, IEEE)
    re.compile(r"[0-9a-f]{4}(?:\.[0-9a-f]{4}){2}"),  # 5254.0077.0011 (switches)
    re.compile(r"[0-9a-f]{12}"),  # 525400770011
    re.compile(r"01(?:-[0-9a-f]{2}){6}"),  # 01-52-54-00-77-00-11 (pxelinux: hardware type first)
)

EXPECTED = "six pairs of hexadecimal digits such as 52:54:00:77:00:11"


def normalise_mac(text: str) -> str:
    """Return `text` in the normal form; raise ValueError with what was expected when it is no MAC."""
    if _NORMAL.fullmatch(text):
        return text
    lowered = text.strip().lower()
    if any(notation.fullmatch(lowered) for notation in _NOTATIONS):
        digits = re.sub(r"[^0-9a-f]", "", lowered)[-12:]
        return ":".join(digits[i : i + 2] for i in range(0, 12, 2))
    raise ValueError(f"{text!r} is not a MAC address, expected {EXPECTED}")


def is_mac(text: str) -> bool:
    """Tell whether `text` is a MAC address in any known notation."""
    try:
        normalise_mac(text)
    except ValueError:
        return False
    return True


def is_group_address(mac: str) -> bool:
    """Tell whether a MAC in normal form is a broadcast or multicast address, which no network card has."""
    return int(mac[:2], 16) & 1 == 1
