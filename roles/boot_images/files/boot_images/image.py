# SPDX-License-Identifier: GPL-3.0-or-later
"""The image of an operating system: its root file system, shrunk, in parts that are fetched one by one."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import grub
from .errors import BuildError
from .settings import KERNELS, SUITES, Settings
from .system import System, Workshop, digest

PACKAGES = (
    "systemd-sysv", "systemd-resolved", "systemd-timesyncd", "libpam-systemd", "dbus", "udev",
    "initramfs-tools", "zstd", "e2fsprogs", "openssh-server", "sudo", "python3", "python3-apt",
    "ca-certificates", "curl", "iproute2", "iputils-ping", "kmod", "procps", "pciutils", "less", "nano",
    "tzdata", "efibootmgr",
    "grub2-common", "grub-pc-bin", "grub-efi-amd64-bin", "grub-efi-amd64-signed", "shim-signed",
)  # fmt: skip

# Zeros are skipped in pieces of this size: more for less would be fetched for nothing.
_PIECE = 1 << 20
_LARGEST_PART = 16 << 20
_COMPRESSION = "-9"
_INODES_FREE = 65536
_JOURNAL_MIB = 64

_NETWORK = """\
# Made by kubestead.homelab: every wired interface by DHCP, known there by its hardware address.
[Match]
Type=ether
Name=en* eth*

[Network]
DHCP=ipv4
LLMNR=no

[DHCPv4]
ClientIdentifier=mac
UseDomains=yes
"""
_NETWORK_OF_OTHERS = """\
# Made by kubestead.homelab: routes and rules of a cluster's network plugin are not systemd's to remove.
[Network]
ManageForeignRoutes=no
ManageForeignRoutingPolicyRules=no
"""
_ANY_ONLINE = """\
# Made by kubestead.homelab: one interface with an address is enough.
[Service]
ExecStart=
ExecStart=/usr/lib/systemd/systemd-networkd-wait-online --any --timeout=60
"""
HOST_KEYS = """\
# Made by kubestead.homelab: an image has no SSH host keys, each machine makes its own. None of RSA, which an
# old processor takes long for. One that is empty was cut off while it was written.
[Unit]
Description=SSH host keys of this machine
ConditionFileNotEmpty=!/etc/ssh/ssh_host_ed25519_key
Before=ssh.service ssh.socket

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -ec 'for kind in ecdsa ed25519; do \
    key=/etc/ssh/ssh_host_$${kind}_key; \
    rm -f $$key $$key.pub; \
    ssh-keygen -q -t $$kind -N "" -f $$key; \
    done'

[Install]
WantedBy=multi-user.target
RequiredBy=ssh.service
"""
_GRUB = """\
# Made by kubestead.homelab for the first boots; `update-grub`, which every new kernel runs, writes its own.
set timeout=1
search --no-floppy --fs-uuid --set=root @ROOT_UUID@
# @TERMINAL@
menuentry "Debian GNU/Linux" {
    linux /vmlinuz root=UUID=@ROOT_UUID@ ro quiet @ARGUMENTS@
    initrd /initrd.img
}
menuentry "Debian GNU/Linux, telling all" {
    linux /vmlinuz root=UUID=@ROOT_UUID@ ro @ARGUMENTS@
    initrd /initrd.img
}
"""
_GRUB_DEFAULTS = """\
# Made by kubestead.homelab
GRUB_DEFAULT=0
GRUB_TIMEOUT=1
GRUB_DISTRIBUTOR=Debian
GRUB_CMDLINE_LINUX_DEFAULT="quiet"
GRUB_CMDLINE_LINUX="@ARGUMENTS@"
GRUB_DISABLE_OS_PROBER=true
"""


def packages(settings: Settings) -> tuple[str, ...]:
    """All that is put into an image by name."""
    return (*PACKAGES, KERNELS[settings.kernel], *settings.packages)


def build(name: str, shop: Workshop, part: Path) -> dict[str, Any]:
    """Build the image of a system into the folder `part`, and say what it is."""
    system = System(shop.work / "root", shop.log)
    system.make(SUITES[name], shop.archive, packages(shop.settings))
    _configure(system)
    grub.prepare(system)
    versions = system.versions()
    kernel = system.kernel()
    disk = shop.work / "root.ext4"
    size = _file_system(system, disk)
    system.remove()
    fetched = _split(disk, part)
    (part / "packages").write_text(versions, encoding="utf-8")
    return {
        "os": name,
        "kernel": kernel,
        "size": size,
        "fetched": fetched,
        "parts_sha256": digest(part / "parts"),
        "packages_sha256": hashlib.sha256(versions.encode()).hexdigest(),
    }


def _configure(system: System) -> None:
    system.write("etc/systemd/network/80-kubestead.network", _NETWORK)
    system.write("etc/systemd/networkd.conf.d/kubestead.conf", _NETWORK_OF_OTHERS)
    system.write("etc/systemd/system/systemd-networkd-wait-online.service.d/kubestead.conf", _ANY_ONLINE)
    system.write("etc/systemd/system/kubestead-ssh-keys.service", HOST_KEYS)
    system.write("etc/default/grub", _GRUB_DEFAULTS)
    system.write("boot/grub/grub.cfg", _GRUB, 0o600)
    system.write("etc/fstab", "")
    system.link("etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf")
    (system.folder / "boot/efi").mkdir(mode=0o700, exist_ok=True)
    (system.folder / "etc/kubestead").mkdir(mode=0o755, exist_ok=True)
    system.enable("systemd-networkd.service", "kubestead-ssh-keys.service", "ssh.service")
    for path in (system.folder / "var/cache/apt").rglob("*.bin"):
        path.unlink()
    # Empty, and it shall not look fresh: who asks whether apt's lists are a day old has to fetch them.
    os.utime(system.folder / "var/lib/apt/lists", (0, 0))


def _file_system(system: System, disk: Path) -> int:
    """Make an ext4 of the system, as small as it can be; it grows at its first boot."""
    used = int(
        subprocess.run(["du", "-sk", str(system.folder)], check=True, capture_output=True).stdout.split()[0]
    )
    inodes = sum(len(folders) + len(files) for dummy, folders, files in os.walk(system.folder))
    blocks = used * 5 // 4 + (_JOURNAL_MIB + 64) * 1024
    disk.unlink(missing_ok=True)
    # As for a large file system, which it becomes. What GRUB of Debian 12 cannot read is left out.
    features = "64bit,metadata_csum,^metadata_csum_seed,^orphan_file"
    sizes = ["-b", "4096", "-I", "256", "-N", str(inodes + _INODES_FREE), "-J", f"size={_JOURNAL_MIB}"]
    options = ["-O", features, *sizes, "-m", "1", "-L", "root"]
    _run("mkfs.ext4", "-q", "-F", *options, "-d", str(system.folder), str(disk), f"{blocks}k")
    _run("e2fsck", "-f", "-p", str(disk))
    _run("resize2fs", "-M", str(disk))
    _run("e2fsck", "-f", "-n", str(disk))
    return disk.stat().st_size


def _split(disk: Path, part: Path) -> int:
    """Write the parts, and the list of them; return how many bytes have to be fetched.

    A line of the list is `data OFFSET LENGTH SHA256 FILE`, or `zero OFFSET LENGTH`; lengths are whole MiB.
    """
    lines, fetched = [], 0
    with disk.open("rb") as stream:
        for number, (offset, length, zero) in enumerate(_runs(disk)):
            if zero:
                lines.append(f"zero {offset} {length}")
                continue
            name = f"{number:04}.zst"
            stream.seek(offset)
            # The last one is filled up with zeros: disks are written in whole MiB.
            _run(
                "zstd",
                "-q",
                _COMPRESSION,
                "-T0",
                "-o",
                str(part / name),
                given=stream.read(length).ljust(length, b"\0"),
            )
            fetched += (part / name).stat().st_size
            lines.append(f"data {offset} {length} {digest(part / name)} {name}")
    (part / "parts").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return fetched


def _runs(disk: Path) -> Iterator[tuple[int, int, bool]]:
    """Runs of pieces that are all zeros, or all not: offset, length, whether zeros."""
    nothing = bytes(_PIECE)
    offset = length = 0
    zero = False
    with disk.open("rb") as stream:
        while piece := stream.read(_PIECE):
            is_zero = piece == nothing[: len(piece)]
            if length and (is_zero != zero or (not zero and length >= _LARGEST_PART)):
                yield offset, length, zero
                offset, length = offset + length, 0
            zero, length = is_zero, length + _PIECE
    if length:
        yield offset, length, zero


def _run(*argv: str, given: bytes = b"") -> None:
    done = subprocess.run(argv, input=given, capture_output=True, check=False)
    # e2fsck says 1 where it has set something right.
    if done.returncode > (1 if argv[0] == "e2fsck" else 0):
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise BuildError(f"{argv[0]} failed: {said[-400:]}")
