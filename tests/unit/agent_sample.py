# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's program, taken as a module; and a machine for it, made of files below a folder."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

FOLDER = Path(__file__).resolve().parents[2] / "src" / "kubestead" / "agent"
PROGRAM = FOLDER / "kubestead-agent"
MAC = "52:54:00:77:00:11"
SIZE = 20 << 30


def agent() -> Any:
    """The program as a module, its own for each call."""
    loader = SourceFileLoader("kubestead_agent", str(PROGRAM))
    specification = importlib.util.spec_from_loader("kubestead_agent", loader)
    assert specification is not None
    module: ModuleType = importlib.util.module_from_spec(specification)
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return module


@contextmanager
def on(folder: Path) -> Iterator[Any]:
    """The program with all of its paths below `folder`."""
    module = agent()
    module.ROOT = str(folder)
    yield module


class Tree:
    """Files as a kernel shows its hardware."""

    def __init__(self, folder: Path) -> None:
        """Begin with a processor, memory and nothing else."""
        self.folder = folder
        self.write("/proc/cpuinfo", _CPU)
        self.write("/proc/meminfo", "MemTotal:        2048 kB\nMemFree: 1 kB\n")

    def write(self, path: str, content: str | bytes) -> Path:
        """A file."""
        file = self.folder / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return file

    def link(self, path: str, target: str) -> None:
        """A link to another place in the tree."""
        file = self.folder / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.symlink_to(self.folder / target.lstrip("/"))

    def disk(self, name: str, number: str, content: bytes = bytes(4096), parts: int = 0, **more: str) -> None:
        """A disk with partitions; its content stands where its device would."""
        device = f"/sys/devices/disks/{name}"
        self.write(f"{device}/size", str(SIZE // 512))
        self.write(f"{device}/device/model", f"MODEL {name}")
        for file, value in {"removable": "0", "ro": "0", **more}.items():
            self.write(f"{device}/{file}", value)
        self.write(f"/dev/{name}", content)
        self.link(f"/sys/block/{name}", device)
        self.link(f"/sys/class/block/{name}", device)
        self.link(f"/sys/dev/block/{number}", device)
        major, minor = number.split(":")
        for each in range(1, parts + 1):
            part = f"{name}p{each}" if name[-1].isdigit() else f"{name}{each}"
            self.write(f"{device}/{part}/partition", str(each))
            self.write(f"/dev/{part}", b"")
            self.link(f"/sys/class/block/{part}", f"{device}/{part}")
            self.link(f"/sys/dev/block/{major}:{int(minor) + each}", f"{device}/{part}")

    def card(self, name: str, mac: str, speed: str = "1000") -> None:
        """A network card."""
        self.write(f"/sys/class/net/{name}/address", mac)
        self.write(f"/sys/class/net/{name}/speed", speed)
        self.write(f"/sys/class/net/{name}/operstate", "up")
        self.write("/sys/bus/pci/drivers/e1000e/bind", "")
        self.link(f"/sys/class/net/{name}/device/driver", "/sys/bus/pci/drivers/e1000e")

    def gpu(self, address: str, vendor: str, device: str, kind: str = "0x030000") -> None:
        """A graphics card."""
        folder = f"/sys/bus/pci/devices/{address}"
        for file, value in {"class": kind, "vendor": f"0x{vendor}", "device": f"0x{device}"}.items():
            self.write(f"{folder}/{file}", value)


_CPU = "\n\n".join(
    f"processor : {thread}\nmodel name : A Processor\nphysical id : 0\ncore id : {thread // 2}"
    for thread in range(4)
)
