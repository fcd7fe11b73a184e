# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Swap: where it is in use, and everything that would bring it back at the next boot."""

from __future__ import annotations

import os
import re
from pathlib import Path

from .host import read_text

# Put before a line of fstab that is switched off, so that a person sees why.
MARK = "# swap off, kubestead.homelab: "

# Services that swap by themselves: to compressed memory, or to files that they make.
SERVICES = (
    "zramswap.service",
    "zram-config.service",
    "zram-swap.service",
    "armbian-zram-config.service",
    "dphys-swapfile.service",
    "swapspace.service",
    "systemd-swap.service",
)
# Programs that make swap units at each boot.
GENERATORS = ("zram-generator", "rpi-swap-generator")

UNIT_FOLDERS = (
    "etc/systemd/system",
    "run/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
)
GENERATED_FOLDERS = ("run/systemd/generator.early", "run/systemd/generator", "run/systemd/generator.late")


def active(proc_swaps: str) -> list[str]:
    """The devices and files that are swapped to now."""
    names = [line.split()[0] for line in proc_swaps.splitlines()[1:] if line.split()]
    return [re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), name) for name in names]


def comment_fstab(text: str) -> str:
    """The same fstab with every line that mounts swap made a comment; everything else as it is."""
    lines = []
    for line in text.splitlines(keepends=True):
        fields = line.split()
        is_swap = len(fields) > 2 and not fields[0].startswith("#") and fields[2] == "swap"
        lines.append(MARK + line if is_swap else line)
    return "".join(lines)


def masked(unit: str, root: Path = Path("/")) -> bool:
    """Whether systemd is told never to start the unit."""
    path = root / "etc/systemd/system" / unit
    return path.is_symlink() and os.readlink(path) == "/dev/null"


def units_to_mask(root: Path = Path("/")) -> list[str]:
    """Units that would swap at the next boot: swap units, except those made of fstab, and services."""
    units: set[str] = set()
    for folder in UNIT_FOLDERS:
        units.update(path.name for path in (root / folder).glob("*.swap"))
        units.update(name for name in SERVICES if (root / folder / name).exists())
    for folder in GENERATED_FOLDERS:
        for path in (root / folder).glob("*.swap"):
            # Lines of fstab are commented; what a generator of its own makes goes away with that.
            text = read_text(path) or ""
            if "SourcePath=/etc/fstab" not in text and not any(name in text for name in GENERATORS):
                units.add(path.name)
    return sorted(unit for unit in units if not masked(unit, root))


def generators_to_mask(root: Path = Path("/")) -> list[str]:
    """Generators of swap that are there and not masked."""
    folders = ("usr/lib/systemd/system-generators", "lib/systemd/system-generators")
    return [
        name
        for name in GENERATORS
        if any((root / folder / name).exists() for folder in folders)
        and not (root / "etc/systemd/system-generators" / name).is_symlink()
    ]


def mask(path: Path) -> None:
    """Link to /dev/null. A file of the administrator's own is kept beside it under another name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() or path.is_symlink():
        path.rename(path.with_name(path.name + ".before-kubestead"))
    path.symlink_to("/dev/null")
