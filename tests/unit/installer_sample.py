# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans of installations for tests."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from kubestead.installers import BootSettings, InstallPlan
from kubestead.model.machine import Machine

MAC = "52:54:00:77:00:41"
PROOF = "of-this-attempt-alone"
DISK = "/dev/disk/by-id/ata-Disk_1"
SYSTEMS = ("debian-12", "debian-13", "ubuntu-24.04", "rocky-10", "rhel-10")
KEY = "ssh-ed25519 " + base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0 " + b"k" * 32).decode() + " me@home"
AUTHORITY = (
    "-----BEGIN CERTIFICATE-----\n" + base64.b64encode(b"c" * 45).decode() + "\n-----END CERTIFICATE-----\n"
)
MIRRORS = {
    "debian": "http://mirror.example/debian",
    "debian-security": "https://mirror.example/debian-security",
    "ubuntu": "http://mirror.example/ubuntu",
    "ubuntu-security": "http://mirror.example/ubuntu",
    "rocky": "http://mirror.example/rocky",
    "rhel": "http://mirror.example/rhel-10",
}
KERNELS = {
    "debian": ("linux", "initrd.gz"),
    "ubuntu": ("vmlinuz", "initrd", "live-server.iso"),
    "rocky": ("vmlinuz", "initrd.img"),
    "rhel": ("vmlinuz", "initrd.img"),
}


def settings(**others: Any) -> BootSettings:
    """Settings as a homelab has them."""
    values: dict[str, Any] = {
        "base": "http://10.0.0.10",
        "api_url": "https://10.0.0.10:8080",
        "api_ca": AUTHORITY,
        "method": "installer",
        "ssh_keys": (KEY,),
        "mirrors": MIRRORS,
    }
    return BootSettings(**{**values, **others})


def plan(system: str, *, disk: str | None = DISK, hostname: str = "node-1", **others: Any) -> InstallPlan:
    """One attempt to install a system."""
    shared = others.pop("settings", None) or settings()
    machine = Machine(mac=MAC, hostname=hostname, role="worker", architecture="amd64", os=system, disk=disk)
    return InstallPlan(machine, shared, "install-1", **{"token": PROOF, **others})


def boot_folder(folder: Path) -> Path:
    """A folder with the kernels of all installers, which are empty files."""
    for system in SYSTEMS:
        place = folder / "installers" / f"{system}-amd64"
        place.mkdir(parents=True)
        for name in KERNELS[system.partition("-")[0]]:
            (place / name).touch()
    return folder
