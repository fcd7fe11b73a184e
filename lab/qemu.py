# SPDX-License-Identifier: GPL-3.0-or-later
"""QEMU's command line for one machine, and what this computer needs for it."""

from __future__ import annotations

import uuid
from pathlib import Path

from lab import firmware, host
from lab.machine_launch import EVENTS
from lab.machine_spec import MachineSpec
from lab.qemu_probe import EMULATED, PROGRAM, Accelerator

# Program or file, and the Debian package that brings it. Only asked for when machines are wanted.
PROGRAMS = {
    PROGRAM: "qemu-system-x86",
    "/usr/lib/ipxe/qemu/pxe-virtio.rom": "ipxe-qemu",
    str(firmware.CODE): "ovmf",
}
TUN = Path("/dev/net/tun")
TAP = "@TAP@"
"""Stands in the command line for the number of the tap's descriptor, which only the launcher knows."""


def missing_packages() -> list[str]:
    """Return the Debian packages that machines still need on this computer."""
    return host.missing_packages(PROGRAMS)


def problems() -> list[str]:
    """Return what stands in the way of machines on this computer, beside what every lab needs."""
    found = []
    if packages := missing_packages():
        found.append(
            f"machines need {' '.join(packages)}; install with: apt-get install {' '.join(packages)}"
        )
    if not TUN.exists():
        found.append(f"there is no {TUN}: a machine's network card is a tap; load the kernel's module `tun`")
    return found


def command(spec: MachineSpec, folder: Path, accelerator: Accelerator) -> list[str]:
    """Return how the machine is started; its sockets and logs are relative to its folder."""
    efi = spec.firmware == firmware.UEFI
    argv = [
        PROGRAM, "-name", spec.name, "-nodefaults", "-no-user-config", "-display", "none",
        "-machine", "q35,graphics=off" if efi else "pc,graphics=off", *accelerator.arguments,
        "-m", str(spec.memory), "-uuid", str(uuid.uuid5(uuid.NAMESPACE_OID, spec.mac)),
        "-smbios", f"type=1,manufacturer=Kubestead,product=lab machine,serial={spec.serial}",
        "-boot", "strict=on",
        "-chardev", "socket,id=serial,path=serial.sock,server=on,wait=off,logfile=serial.log,logappend=on",
        "-serial", "chardev:serial", "-qmp", "unix:qmp.sock,server=on,wait=off",
        "-object", "rng-random,id=random,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=random",
        "-netdev", f"tap,id=network,fd={TAP}",
        # Without its own ROM the card is booted by the firmware's PXE, as on real hardware; with it, by iPXE.
        "-device", f"virtio-net-pci,netdev=network,mac={spec.mac},bootindex=1" + (",romfile=" if efi else ""),
        # What was written is in this computer's memory when the power is cut: no flush is waited for.
        "-drive", f"file={_escaped(folder / 'disk.img')},if=none,id=disk,format=raw,cache=unsafe,"
        "discard=unmap,detect-zeroes=unmap",
        "-device", f"virtio-blk-pci,drive=disk,serial={spec.serial},bootindex=2",
    ]  # fmt: skip
    argv += ["-qmp", f"unix:{EVENTS},server=on,wait=off"]
    if accelerator.kind == EMULATED:
        # QEMU goes on to know what it had translated of the system before, and each byte that is then written
        # to such a place takes milliseconds: a boot loader that moves a kernel there needs hours. So a reset
        # is a new QEMU.
        argv.append("-no-reboot")
    if efi:
        variables = _escaped(folder / "uefi-variables.fd")
        argv += ["-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={firmware.CODE}"]
        argv += ["-drive", f"if=pflash,unit=1,format=raw,file={variables}"]
    return argv


def _escaped(path: Path) -> str:
    return str(path).replace(",", ",,")
