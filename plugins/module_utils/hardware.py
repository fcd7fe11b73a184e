# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a machine's hardware, as its agent reports it (datum `hardware`), says that it could be used for."""

from __future__ import annotations

import typing as t

KEY = "hardware"

GPU = "gpu"
STORAGE = "storage"

# Cards that compute. Those of servers' consoles and of virtual machines only show a picture.
_GPU_MAKERS = {"10de": "NVIDIA", "1002": "AMD"}
_INTEL = "8086"
_SMALLEST_DISK = 8 << 30


class Proposal(t.NamedTuple):
    """A feature that a machine could have, and what speaks for it."""

    feature: str
    reason: str


def proposals(hardware: t.Any, features: t.Collection[str] = ()) -> t.List[Proposal]:
    """The features that `hardware` speaks for, without those that the machine has.

    What is no such report, or a strange one, proposes nothing: it comes from the machine.
    """
    if not isinstance(hardware, dict):
        return []
    found = []
    cards = [_card(each) for each in _objects(hardware, "gpus") if _computes(each)]
    if cards:
        found.append(Proposal(GPU, ", ".join(cards)))
    disks = [_disk(each) for each in _objects(hardware, "disks") if _unused(each)]
    if disks:
        found.append(Proposal(STORAGE, f"unused: {', '.join(disks)}"))
    return [each for each in found if each.feature not in features]


def summary(hardware: t.Any) -> str:
    """The hardware in a line; empty where nothing can be told."""
    if not isinstance(hardware, dict):
        return ""
    parts = []
    cpu, memory = hardware.get("cpu"), hardware.get("memory")
    if isinstance(cpu, dict) and isinstance(cpu.get("threads"), int):
        parts.append(f"{cpu['threads']} threads")
    if isinstance(memory, dict) and isinstance(memory.get("bytes"), int):
        parts.append(f"{size(memory['bytes'])} memory")
    disks = [each for each in _objects(hardware, "disks") if isinstance(each.get("bytes"), int)]
    if disks:
        total = size(sum(each["bytes"] for each in disks))
        parts.append(f"{len(disks)} disk{'' if len(disks) == 1 else 's'} ({total})")
    parts += [_card(each) for each in _objects(hardware, "gpus") if _computes(each)]
    for key in ("firmware", "virtualisation"):
        if isinstance(hardware.get(key), str) and hardware[key] != "none":
            parts.append(hardware[key])
    return ", ".join(parts)


def size(count: int) -> str:
    """Bytes as people say them, in powers of 1024."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if value >= 10 or unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def _objects(hardware: t.Mapping[str, t.Any], key: str) -> t.List[t.Dict[str, t.Any]]:
    found = hardware.get(key)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _computes(card: t.Mapping[str, t.Any]) -> bool:
    if card.get("vendor") in _GPU_MAKERS:
        return True
    # Intel's graphics are part of the processor, at 00:02.0; what is elsewhere is a card.
    return card.get("vendor") == _INTEL and not str(card.get("address")).startswith("0000:00:02.")


def _card(card: t.Mapping[str, t.Any]) -> str:
    maker = _GPU_MAKERS.get(str(card.get("vendor")), "Intel")
    return f"{maker} {card.get('name') or card.get('device')} at {card.get('address')}"


def _unused(disk: t.Mapping[str, t.Any]) -> bool:
    large = isinstance(disk.get("bytes"), int) and disk["bytes"] >= _SMALLEST_DISK
    return (
        large and disk.get("used") is False and not any(disk.get(key) for key in ("removable", "read_only"))
    )


def _disk(disk: t.Mapping[str, t.Any]) -> str:
    ids = disk.get("ids")
    name = ids[0] if isinstance(ids, list) and ids else f"/dev/{disk.get('name')}"
    return f"{name} ({size(disk['bytes'])})"
