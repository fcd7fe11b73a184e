# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""By what a machine is told from others: machine-id and product UUID, and which of them are clones."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Mapping

from .host import container_kind, read_text

_MACHINE_ID = re.compile(r"[0-9a-f]{32}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

# What makers of boards write where they should write a number of the board's own.
_PLACEHOLDERS = (
    "03000200-0400-0500-0006-000700080009",
    "00020003-0004-0005-0006-000700080009",
    "12345678-1234-5678-90ab-cddeefaabbcc",
)


def machine_id(root: Path = Path("/")) -> str:
    """The id of the installed system; nothing when it has none yet."""
    text = (read_text(root / "etc/machine-id") or "").strip()
    return text if _MACHINE_ID.fullmatch(text) else ""


def product_uuid(root: Path = Path("/")) -> str:
    """The number of the machine itself; nothing in a container, and nothing where the firmware has none."""
    if container_kind(root):
        return ""
    try:
        text = (read_text(root / "sys/class/dmi/id/product_uuid") or "").strip().lower()
    except OSError:
        return ""
    return text if _UUID.fullmatch(text) else ""


def is_placeholder(uuid: str) -> bool:
    """Whether many machines have the same: the maker of the board left it out."""
    return uuid in _PLACEHOLDERS or len(set(uuid.replace("-", ""))) == 1


def clones(machines: Mapping[str, Mapping[str, Any]], key: str) -> list[tuple[str, list[str]]]:
    """Values of `key` that several machines have, and which machines."""
    holders: dict[str, list[str]] = {}
    for name, machine in machines.items():
        value = str(machine.get(key) or "")
        if value and not (key == "product_uuid" and is_placeholder(value)):
            holders.setdefault(value, []).append(name)
    return [(value, names) for value, names in holders.items() if len(names) > 1]
