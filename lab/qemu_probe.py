# SPDX-License-Identifier: GPL-3.0-or-later
"""Which way QEMU runs machines here: by KVM where that really boots something, else emulated.

A /dev/kvm that is there may still run no ordinary guest, so two are booted. The first is a boot sector that
waits for the timer's interrupt, goes to 64-bit mode with paging and ends QEMU with an exit code. The second
does what the lab's machines do: the BIOS starts iPXE, which fetches a script from a network inside QEMU. A
computer was seen where the first works and the second ends in `KVM internal error`: both are needed.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from kubestead.model.atomic import write_atomically
from lab.errors import HostError
from lab.process import boot_id, wait_until

PROGRAM = "qemu-system-x86_64"
KVM = "kvm"
EMULATED = "tcg"
DEVICE = Path("/dev/kvm")
_SECONDS = 40
_WORKS = 0x2A
_SCRIPT = "#!ipxe\necho kubestead ${platform} works\n"
_SCRIPT_SAYS = "kubestead pcbios works"
_BROKEN = "KVM internal error"
_CACHE = "accelerator.json"

# Loaded at 0x7c00. Page tables at 0x1000, 0x2000, 0x3000: the first 2 MiB, mapped to themselves.
_CODE = bytes.fromhex(
    "fa 31c0 8ed8 8ec0 8ed0 bc007c ea117c0000"  # cli; segments 0, stack below; jump to 0:7c11
    "fb a16c04"  #                                 sti; what BIOS's clock shows
    "f4 3b066c04 74f9 fa"  #                       hlt until it shows something else; cli
    "6631c0 66bf00100000 0f22df"  #                cr3 = 0x1000
    "66b9000c0000 fc 66f3ab"  #                    three empty pages
    "c70600100320 c70600200330 c70600308300"  #    an entry in each
    "66b8a0000000 0f22e0"  #                       cr4: PAE, PGE
    "66b9800000c0 0f32 0d0001 0f30"  #             EFER: long mode
    "0f0116b07c 0f20c0 660d01000080 0f22c0"  #     descriptor table; cr0: paging, protected mode
    "ea717c0800"  #                                jump to 8:7c71, 64 bits from here
    "31c0 0fa2"  #                                 cpuid
    "48b8f0debc9a78563412 4889c3 48c1eb20"  #      what only 64-bit registers hold
    "81fb78563412 7508"  #                         its upper half is right?
    "baf4000000 b02a ee"  #                        then tell QEMU's isa-debug-exit
    "f4 ebfd"  #                                   halt
)
_TABLE_AT = 0xA0


def boot_sector() -> bytes:
    """Return what is booted, 512 bytes."""
    table = bytes(8) + (0x00209A0000000000).to_bytes(8, "little")
    pointer = (15).to_bytes(2, "little") + (0x7C00 + _TABLE_AT).to_bytes(4, "little")
    return (_CODE.ljust(_TABLE_AT, b"\0") + table + pointer).ljust(510, b"\0") + b"\x55\xaa"


@dataclass(frozen=True)
class Accelerator:
    """How machines run, and why."""

    kind: str
    reason: str

    @property
    def arguments(self) -> list[str]:
        """QEMU's options. One CPU when emulating: a kernel was seen to panic with two.

        And one without CMPXCHG16B: QEMU 7.2 spoils the flags with it. Of 27 starts of Debian 13's kernel
        6.12.107, which allocates memory by it, 12 ended in a fault; without it none of 31.
        """
        if self.kind == KVM:
            return ["-accel", "kvm", "-cpu", "host", "-smp", str(min(2, os.cpu_count() or 1))]
        return ["-accel", "tcg", "-cpu", "max,-cx16", "-smp", "1"]

    def __str__(self) -> str:
        name = "KVM" if self.kind == KVM else "emulation (TCG, one CPU)"
        return f"machines run by {name}: {self.reason}"


def choose(folder: Path) -> Accelerator:
    """Say how machines run; found out once for each boot of this computer, and kept in `folder`."""
    try:
        known = json.loads((folder / _CACHE).read_text())
        if known["boot"] == boot_id():
            return Accelerator(known["kind"], known["reason"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    found = _find()
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / _CACHE, json.dumps({"boot": boot_id(), **asdict(found)}) + "\n")
    return found


def _find() -> Accelerator:
    if not DEVICE.exists():
        return Accelerator(EMULATED, f"there is no {DEVICE}")
    if problem := try_to_boot(KVM, "host"):
        return Accelerator(EMULATED, f"{DEVICE} is there, but {problem}")
    return Accelerator(KVM, f"{DEVICE} is there and boots")


def try_to_boot(accelerator: str, cpu: str) -> str:
    """Boot both guests; return why one did not get to its end, or nothing."""
    argv = [
        PROGRAM, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-m", "128",
        "-machine", "pc,graphics=off", "-accel", accelerator, "-cpu", cpu,
    ]  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="kubestead-probe-") as folder:
        try:
            return _boot_sector_runs(argv, Path(folder)) or _network_boots(argv, Path(folder))
        except FileNotFoundError as error:
            raise HostError(f"{PROGRAM} is missing; install with: apt-get install qemu-system-x86") from error


def _boot_sector_runs(argv: list[str], folder: Path) -> str:
    image = folder / "sector.img"
    image.write_bytes(boot_sector())
    more = ["-drive", f"file={image},format=raw,if=ide", "-device", "isa-debug-exit,iobase=0xf4,iosize=1"]
    try:
        done = subprocess.run(
            [*argv, *more],
            check=False,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return f"a guest of 512 bytes did not end in {_SECONDS} s"
    if done.returncode == _WORKS << 1 | 1:
        return ""
    said = done.stderr.strip().splitlines()[-1:] or [f"QEMU ended with {done.returncode}"]
    return f"no guest boots by it ({said[0].strip()})"


def _network_boots(argv: list[str], folder: Path) -> str:
    (folder / "tftp").mkdir()
    (folder / "tftp" / "probe.ipxe").write_text(_SCRIPT)
    log = folder / "serial.log"
    more = [
        "-netdev", f"user,id=network,restrict=on,tftp={folder / 'tftp'},bootfile=probe.ipxe",
        "-device", "virtio-net-pci,netdev=network,bootindex=1", "-boot", "strict=on", "-serial", "stdio",
    ]  # fmt: skip
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*argv, *more], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )

    def said(words: str) -> bool:
        return words in log.read_text(errors="replace")

    try:
        wait_until(lambda: said(_SCRIPT_SAYS) or said(_BROKEN) or process.poll() is not None, _SECONDS)
    finally:
        process.kill()
        process.wait()
    if said(_SCRIPT_SAYS):
        return ""
    if said(_BROKEN):
        return f"a guest that boots from the network by it ends in `{_BROKEN}`"
    return f"a guest that boots from the network by it does not get to its script in {_SECONDS} s"
