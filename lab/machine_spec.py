# SPDX-License-Identifier: GPL-3.0-or-later
"""What a virtual machine should be."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

from lab import firmware
from lab.errors import InputError
from lab.spec import NETWORK, identity_problems, mac_of, normal_mac

DISK = 8 << 30
MEMORY = 1024
WORKER_MEMORY = 2048
# Nodes are below, the range for machines that nobody knows is above.
_FIRST, _LAST = 100, 199
_UNITS = {"M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_LARGEST_DISK = 16 << 40


@dataclass(frozen=True)
class MachineSpec:
    """A machine's name, address, MAC, firmware, disk (bytes) and memory (MiB)."""

    name: str
    ip: str
    mac: str = ""
    firmware: str = firmware.BIOS
    disk: int = DISK
    memory: int = MEMORY

    def __post_init__(self) -> None:
        object.__setattr__(self, "mac", normal_mac(self.mac or mac_of(self.ip)))
        if problems := self._problems():
            raise InputError(*problems)

    def _problems(self) -> list[str]:
        problems = identity_problems("machine", self.name, self.ip, self.mac)
        if self.firmware not in firmware.KINDS:
            problems.append(
                f"machine {self.name}: firmware {self.firmware!r}; expected {' or '.join(firmware.KINDS)}"
            )
        if not 1 << 20 <= self.disk <= _LARGEST_DISK or self.disk % (1 << 20):
            problems.append(f"machine {self.name}: a disk of {self.disk} bytes; expected 1M to 16T")
        if not 256 <= self.memory <= 1 << 20:
            problems.append(f"machine {self.name}: {self.memory} MiB of memory; expected 256 or more")
        return problems

    @property
    def serial(self) -> str:
        """What the machine and its disk (virtio-SERIAL in /dev/disk/by-id) call themselves."""
        return self.mac.replace(":", "")

    @property
    def tap(self) -> str:
        """The name of its port on the bridge."""
        return f"machine{self.ip.rpartition('.')[2]}"

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> MachineSpec:
        """Read what `to_dict` wrote."""
        return cls(**{key: values[key] for key in cls.__dataclass_fields__})

    def to_dict(self) -> dict[str, Any]:
        """Return the specification as plain data."""
        return asdict(self)


def parse_size(text: str) -> int:
    """Read a disk's size: 8G, 512M."""
    match = re.fullmatch(r"([1-9][0-9]{0,6})([MGT])", text)
    if not match:
        raise InputError(f"disk size {text!r}: expected a whole number with M, G or T, for example 8G")
    return int(match[1]) * _UNITS[match[2]]


def address_for(name: str, taken: Collection[str]) -> str:
    """Return the address of a machine that no registry has: the same for the same name, where it is free."""
    count = _LAST - _FIRST + 1
    start = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    for step in range(count):
        address = str(NETWORK[_FIRST + (start + step) % count])
        if address not in taken:
            return address
    raise InputError(f"no address of {NETWORK[_FIRST]} to {NETWORK[_LAST]} is free for machine {name}")
