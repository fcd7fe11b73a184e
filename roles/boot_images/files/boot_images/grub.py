# SPDX-License-Identifier: GPL-3.0-or-later
"""GRUB for a disk that does not exist yet.

The layout of the disk is ours and always the same (initramfs/deploy), so the boot loader is prepared here and
only copied at the installation, before there is a partition table that GRUB's own installer could look at.
"""

from __future__ import annotations

from pathlib import Path

from .errors import BuildError
from .system import System

# Sectors of 512 bytes: where the partition for GRUB's core begins, and how much there is.
CORE_SECTOR = 2048
CORE_SECTORS = 2048
ROOT_PARTITION = 3
_MODULES = (
    "biosdisk", "part_gpt", "ext2", "normal", "configfile", "linux", "search", "search_fs_uuid",
    "test", "echo", "ls",
)  # fmt: skip
_FOLDER = "boot/grub/i386-pc"
# Where GRUB's first sectors keep what its installer fills in (include/grub/i386/pc/boot.h of GRUB).
_BOOT_CORE_SECTOR = 0x5C
_BOOT_DRIVE_CHECK = 0x66
_NO_OPERATION = b"\x90\x90"
_DISKBOOT_LIST = 0x1F4
_SECTOR = 512


def prepare(system: System) -> None:
    """Put GRUB for BIOS into /boot/grub of a system, with boot.img and core.img for our layout."""
    folder = system.folder / _FOLDER
    folder.mkdir(parents=True)
    for path in sorted((system.folder / "usr/lib/grub/i386-pc").glob("*")):
        if path.suffix in (".mod", ".lst"):
            (folder / path.name).write_bytes(path.read_bytes())
    system.run(
        "grub-mkimage", "--directory=/usr/lib/grub/i386-pc", "--format=i386-pc",
        f"--output=/{_FOLDER}/core.img", f"--prefix=(,gpt{ROOT_PARTITION})/boot/grub", *_MODULES,
    )  # fmt: skip
    boot = (system.folder / "usr/lib/grub/i386-pc/boot.img").read_bytes()
    (folder / "boot.img").write_bytes(_boot(boot))
    core = folder / "core.img"
    core.write_bytes(_core(core.read_bytes()))


def _boot(image: bytes) -> bytes:
    """The code of the first sector, told where the core is; no partition table behind it."""
    if len(image) != _SECTOR:
        raise BuildError(f"GRUB's boot.img has {len(image)} bytes, expected {_SECTOR}")
    changed = bytearray(image)
    changed[_BOOT_CORE_SECTOR : _BOOT_CORE_SECTOR + 8] = CORE_SECTOR.to_bytes(8, "little")
    # As on every hard disk: do not believe a BIOS that says it booted from a floppy disk.
    changed[_BOOT_DRIVE_CHECK : _BOOT_DRIVE_CHECK + 2] = _NO_OPERATION
    return bytes(changed[:440])


def _core(image: bytes) -> bytes:
    """The core, its first sector told where the others are."""
    sectors = -(-len(image) // _SECTOR)
    if sectors > CORE_SECTORS:
        raise BuildError(f"GRUB's core has {sectors} sectors, expected at most {CORE_SECTORS}")
    changed = bytearray(image.ljust(sectors * _SECTOR, b"\0"))
    changed[_DISKBOOT_LIST : _DISKBOOT_LIST + 8] = (CORE_SECTOR + 1).to_bytes(8, "little")
    changed[_DISKBOOT_LIST + 8 : _DISKBOOT_LIST + 10] = (sectors - 1).to_bytes(2, "little")
    return bytes(changed)


def local_boot(system: System, target: Path) -> None:
    """Make an EFI program that iPXE can load, and that goes on with the loader on the disk."""
    script = Path(__file__).with_name("local.cfg").read_text(encoding="utf-8")
    system.write("tmp/local.cfg", script)
    system.run(
        "grub-mkimage", "--directory=/usr/lib/grub/x86_64-efi", "--format=x86_64-efi",
        "--config=/tmp/local.cfg", "--prefix=/EFI/none", "--output=/tmp/local.efi",
        "part_gpt", "part_msdos", "fat", "search", "search_fs_file", "chain", "test", "echo",
    )  # fmt: skip
    target.write_bytes((system.folder / "tmp/local.efi").read_bytes())
    for name in ("local.cfg", "local.efi"):
        (system.folder / "tmp" / name).unlink()
