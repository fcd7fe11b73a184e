# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory of one lab: a copy of `inventory/lab` in its folder, with as many virtual machines as it has.

A machine of the registry that has firmware is a virtual one with an empty disk; the others are nodes.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

from kubestead.model.machine import COMPUTE, WORKER
from kubestead.model.registry import Registry, RegistryError
from lab import folders, paths
from lab.errors import InputError
from lab.qemu_probe import EMULATED, KVM

SOURCE = paths.checkout() / "inventory" / "lab"
MOST_MACHINES = 9
# What a machine is for. Emulated it is too slow to carry pods: it is prepared, but does not join.
_ROLES = {KVM: (WORKER, ["kubernetes"]), EMULATED: (COMPUTE, ["compute"])}


def known(lab_folder: Path) -> Path:
    """Return the inventory of a lab: its own, or before the first `up` what it will be made of."""
    own = lab_folder / "inventory"
    return own if own.is_dir() else SOURCE


def write(lab_folder: Path, entries: dict[str, dict[str, Any]]) -> Path:
    """Write a lab's inventory: what `inventory/lab` has beside the registry, and this registry."""
    own, new = lab_folder / "inventory", lab_folder / "inventory.new"
    lab_folder.mkdir(parents=True, exist_ok=True)
    folders.remove(new)
    shutil.copytree(SOURCE, new)
    (new / "registry.json").write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
    load(new)
    folders.remove(own)
    new.rename(own)
    return own


def load(inventory: Path) -> Registry:
    """Read an inventory's registry; every problem is told at once."""
    try:
        return Registry.load(inventory / "registry.json")
    except RegistryError as error:
        raise InputError(*map(str, error.problems)) from error


def count(lab_folder: Path) -> int:
    """Return how many virtual machines a lab has: at first as many as `inventory/lab`."""
    return len(_virtual(_read(known(lab_folder))))


def entries(
    lab_folder: Path, count: int, wanted_firmware: str | None, accelerator: str
) -> dict[str, dict[str, Any]]:
    """Return the registry of a lab with so many virtual machines.

    wanted_firmware: of new ones; those that were made keep theirs.
    """
    if not 0 <= count <= MOST_MACHINES:
        raise InputError(f"{count} virtual machines: expected 0 to {MOST_MACHINES}")
    usual, before = _read(SOURCE), _read(known(lab_folder))
    first, pattern = next(iter(_virtual(usual).items()))
    role, features = _ROLES[accelerator]
    found = {mac: entry for mac, entry in usual.items() if mac not in _virtual(usual)}
    for number in range(1, count + 1):
        mac, name, ip = (_numbered(text, number) for text in (first, pattern["hostname"], pattern["ip"]))
        there = mac in before and (lab_folder / "machines" / name).exists()
        made = before[mac]["firmware"] if there else None
        if made and wanted_firmware and made != wanted_firmware:
            raise InputError(
                f"machine {name} was made with {made}, now {wanted_firmware} is asked for; wipe it first: "
                f"./deploy.sh lab --lab {lab_folder.name} machine wipe {name}"
            )
        own = {"hostname": name, "ip": ip, "firmware": made or wanted_firmware or pattern["firmware"]}
        found[mac] = {**pattern, **own, "role": role, "features": features}
    return found


def _virtual(machines: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {mac: entry for mac, entry in machines.items() if "firmware" in entry}


def _read(inventory: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads((inventory / "registry.json").read_text(encoding="utf-8"))
    return found


def _numbered(text: str, number: int) -> str:
    """Return the name, address or MAC of the machine that many places on: the first is number 1."""
    match = re.fullmatch(r"(.*?)(\d+)", text)
    if not match:
        raise InputError(
            f"{SOURCE / 'registry.json'}: {text!r} does not end in a number, so none can follow it"
        )
    return f"{match[1]}{int(match[2]) + number - 1:0{len(match[2])}}"
