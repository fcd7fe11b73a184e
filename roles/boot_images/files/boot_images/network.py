# SPDX-License-Identifier: GPL-3.0-or-later
"""What machines boot from the network: kernel and initrd, which install or fetch the rescue system; and that.

One Debian system is made for both. Its initrd is built before the rescue system's tools are added, so that
nothing in it assembles volumes or arrays of the disks that it finds.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path
from typing import Any

from . import grub
from .errors import BuildError
from .image import HOST_KEYS
from .settings import KERNELS, SUITES
from .system import System, Workshop, digest

# For the initrd.
PACKAGES = (
    "systemd-sysv", "dbus", "udev", "initramfs-tools", "busybox", "zstd", "e2fsprogs", "dosfstools",
    "fdisk", "efibootmgr", "mount", "util-linux",
)  # fmt: skip
# For the rescue system, beside those of the settings.
RESCUE_PACKAGES = (
    "systemd-resolved", "libpam-systemd", "openssh-server", "ca-certificates", "curl", "iproute2",
    "iputils-ping", "kmod", "procps", "less", "nano", "grub-efi-amd64-bin",
)  # fmt: skip
_INITRAMFS = Path(__file__).resolve().parent.parent / "initramfs"
# Beside the hooks of Debian itself: busybox gives, as the last of them, only what is not there yet.
_HOOKS = {
    name: f"usr/share/initramfs-tools/{folder}/kubestead"
    for name, folder in (("hook", "hooks"), ("kubestead", "scripts"))
}
_DEPLOY = "usr/lib/kubestead/deploy"
_NETWORK = """\
[Match]
Type=ether
Name=en* eth*

[Network]
DHCP=ipv4

[DHCPv4]
ClientIdentifier=mac
UseDomains=yes
"""
# Nothing of the disks is touched by itself: no swap, no mount, no array, no volume.
_LEFT_ALONE = (
    "etc/udev/rules.d/64-md-raid-assembly.rules",
    "etc/udev/rules.d/69-lvm.rules",
    "etc/systemd/system-generators/systemd-gpt-auto-generator",
    "etc/systemd/system/mdmonitor.service",
    "etc/systemd/system/mdadm-shutdown.service",
    "etc/systemd/system/lvm2-monitor.service",
    "etc/systemd/system/apt-daily.timer",
    "etc/systemd/system/apt-daily-upgrade.timer",
)
_LVM = """\
# Made by kubestead.homelab: vgchange -ay activates volumes, nothing else does.
activation {
    auto_activation_volume_list = []
}
"""
_MESSAGE = """\

This is the rescue system of Kubestead, in memory. The disks are untouched: nothing of them is mounted.
    lsblk -f                   what there is
    mdadm --assemble --scan    arrays;  vgchange -ay NAME  volumes;  cryptsetup open  encrypted ones
    reboot                     ends it: the machine boots its disk again

"""


def build(shop: Workshop, deploy: Path, rescue: Path) -> dict[str, Any]:
    """Build both into their folders, and say what they are."""
    settings = shop.settings
    system = System(shop.work / "root", shop.log)
    tools = [*RESCUE_PACKAGES, *settings.rescue_packages]
    hooks = [
        f'mkdir -p "$1/{Path(_DEPLOY).parent}"',
        f'cp {_INITRAMFS / "deploy"} "$1/{_DEPLOY}"',
        *(f'install -D -m 0755 {_INITRAMFS / name} "$1/{path}"' for name, path in _HOOKS.items()),
        # The kernel's package has made an initrd for disks; this one takes its place.
        'rm -f "$1"/boot/initrd.img-*',
        'chroot "$1" sh -c \'mkinitramfs -c zstd -o /boot/deploy.initrd "$(ls /lib/modules)"\'',
        'echo "update_initramfs=no" > "$1/etc/initramfs-tools/update-initramfs.conf"',
        f'chroot "$1" apt-get --yes install {" ".join(tools)}',
    ]
    system.make(SUITES[settings.base], shop.archive, (*PACKAGES, KERNELS[settings.kernel]), hooks)
    kernel = system.kernel()
    versions = system.versions()
    shutil.copyfile(system.folder / f"boot/vmlinuz-{kernel}", deploy / "vmlinuz")
    shutil.copyfile(system.folder / "boot/deploy.initrd", deploy / "initrd")
    # Its script is one for GRUB without a shell: where a line fails, the next is tried.
    grub.local_boot(system, deploy / "local.efi")
    _configure(system)
    _squash(system.folder, rescue / "rescue.squashfs")
    system.remove()
    (rescue / "packages").write_text(versions, encoding="utf-8")
    return {
        "os": settings.base,
        "kernel": kernel,
        "rescue_sha256": digest(rescue / "rescue.squashfs"),
        "packages_sha256": hashlib.sha256(versions.encode()).hexdigest(),
    }


def _configure(system: System) -> None:
    for path in (system.folder / "boot").iterdir():
        path.unlink()
    for name in _LEFT_ALONE:
        system.link(name, "/dev/null")
    system.write("etc/lvm/lvmlocal.conf", _LVM)
    system.write("etc/fstab", "")
    system.write("etc/motd", _MESSAGE)
    system.write("etc/systemd/network/80-kubestead.network", _NETWORK)
    system.write("etc/systemd/system/kubestead-ssh-keys.service", HOST_KEYS)
    system.link("etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf")
    system.enable("systemd-networkd.service", "kubestead-ssh-keys.service", "ssh.service")
    for name in ("var/lib/apt/lists", "var/cache/apt", "var/cache/debconf"):
        shutil.rmtree(system.folder / name, ignore_errors=True)
    (system.folder / "var/lib/apt/lists/partial").mkdir(parents=True)


def _squash(folder: Path, target: Path) -> None:
    argv = ["mksquashfs", str(folder), str(target), "-noappend", "-quiet", "-no-progress"]
    argv += ["-comp", "zstd", "-Xcompression-level", "6"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"mksquashfs failed: {(done.stderr or done.stdout).strip()[-400:]}")
