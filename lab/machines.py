# SPDX-License-Identifier: GPL-3.0-or-later
"""The virtual machines of a lab, beside its nodes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lab import host, paths, qemu
from lab.errors import HostError, InputError
from lab.machine import Machine
from lab.machine_spec import MachineSpec
from lab.qemu_probe import Accelerator, choose

# What QEMU takes beside the machine's memory.
_OVERHEAD = 128 << 20


class Machines:
    """Where a lab keeps its virtual machines."""

    def __init__(self, lab: str, lab_folder: Path) -> None:
        self.lab = lab
        self.lab_folder = lab_folder

    def get(self, name: str) -> Machine:
        """Return a machine by its name, whether it exists or not."""
        return Machine(self.lab, self.lab_folder, name)

    def known(self, name: str) -> Machine:
        """Return a machine that exists; refuse another name, with those that there are."""
        machine = self.get(name)
        if machine.spec is None:
            names = ", ".join(one.name for one in self.all()) or "none"
            raise InputError(f"lab {self.lab} has no machine {name!r}; it has: {names}")
        return machine

    def all(self) -> list[Machine]:
        """Return the machines that have a folder."""
        found = sorted(path.name for path in (self.lab_folder / "machines").glob("*") if path.is_dir())
        return [self.get(name) for name in found]

    def specs(self) -> list[MachineSpec]:
        """Return what the machines were made as."""
        return [spec for machine in self.all() if (spec := machine.spec)]

    def accelerator(self) -> Accelerator:
        """Say how machines run here."""
        return choose(paths.cache())

    def check_room(self, specs: Sequence[MachineSpec]) -> None:
        """Refuse what this computer has no programs or no memory for."""
        found = qemu.problems()
        wanted = sum((spec.memory << 20) + _OVERHEAD for spec in specs if not self.get(spec.name).running())
        free = host.free_memory()
        if free is not None and wanted > free:
            found.append(
                f"the machines want {wanted >> 20} MiB of memory, {free >> 20} MiB are available; "
                "give them less (--memory), or take some down"
            )
        if found:
            raise HostError(*found)

    def summaries(self) -> list[dict[str, object]]:
        """What `status` tells of them."""
        return [machine.summary() for machine in self.all()]
