# SPDX-License-Identifier: GPL-3.0-or-later
"""What this computer is and has. Looks only; changes nothing."""

from __future__ import annotations

import ctypes
import gzip
import os
import platform
import re
import shutil
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lab import apt, cgroups, paths
from lab.errors import HostError
from lab.process import run

# Program (or file) and the Debian package that brings it.
_PROGRAMS = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "ip": "iproute2",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "gpgv": "gpgv",
    apt.KEYRING: "debian-archive-keyring",
}
# What a node may ask modprobe for, and the kernel's setting where nothing but /proc/config.gz tells.
_MODULES = {
    "bonding": "BONDING",
    "br_netfilter": "BRIDGE_NETFILTER",
    "bridge": "BRIDGE",
    "ceph": "CEPH_FS",
    "dummy": "DUMMY",
    "fuse": "FUSE_FS",
    "geneve": "GENEVE",
    "ip_set": "IP_SET",
    "ip_tables": "IP_NF_IPTABLES",
    "ip_vs": "IP_VS",
    "ip_vs_rr": "IP_VS_RR",
    "ip_vs_sh": "IP_VS_SH",
    "ip_vs_wrr": "IP_VS_WRR",
    "ipip": "NET_IPIP",
    "iptable_filter": "IP_NF_FILTER",
    "iptable_nat": "IP_NF_NAT",
    "macvlan": "MACVLAN",
    "nf_conntrack": "NF_CONNTRACK",
    "nf_nat": "NF_NAT",
    "nf_tables": "NF_TABLES",
    "nfs": "NFS_FS",
    "nfsd": "NFSD",
    "overlay": "OVERLAY_FS",
    "rbd": "BLK_DEV_RBD",
    "tun": "TUN",
    "veth": "VETH",
    "vxlan": "VXLAN",
    "wireguard": "WIREGUARD",
}
_NEEDED = ("overlay", "bridge", "veth")
_USEFUL = ("br_netfilter", "nf_conntrack", "nf_tables", "vxlan")
_CAPABILITIES = {"SYS_ADMIN": 21, "NET_ADMIN": 12, "SYS_CHROOT": 18, "MKNOD": 27, "SYS_PTRACE": 19}
_NO_UPPER = {0x794C7630: "overlayfs", 0x6969: "NFS", 0x01021994: "tmpfs without trusted attributes"}
_GIB = 1 << 30
DISK_NODES = 8 * _GIB
DISK_BASES = 2 * _GIB
MEMORY = 2 * _GIB


@dataclass(frozen=True)
class Port:
    """A port of this computer's loopback that the lab passes on to a node."""

    number: int
    what: str
    option: str


def missing_packages(programs: Mapping[str, str] = _PROGRAMS) -> list[str]:
    """Return the Debian packages that this computer still needs, for the lab if nothing else is named."""
    return sorted({package for name, package in programs.items() if not _has(name)})


def problems(
    ports: tuple[Port, ...] = (), own_pid: int | None = None, *, installable: bool = False
) -> list[str]:
    """Return everything that stands in the way of a lab on this computer.

    installable: packages that are missing are no problem: the caller installs them.
    """
    found = []
    if os.geteuid():
        found.append(
            "the lab needs root (namespaces, mounts, cgroups): run it with sudo, or through ./deploy.sh"
        )
    else:
        found += _privileges()
    if (packages := missing_packages()) and not installable:
        names = ", ".join(name for name in _PROGRAMS if not _has(name))
        found.append(f"missing on this computer: {names}; install with: apt-get install {' '.join(packages)}")
    found += cgroups.problems()
    known = kernel_modules()
    found += [
        f"the kernel {platform.release()} has no {name}; the lab cannot work without"
        for name in _NEEDED
        if name not in known
    ]
    found += _places()
    found += _memory()
    try:
        apt.sources_for("bookworm")
    except HostError as error:
        found += error.problems
    for port in ports:
        holder = port_holder(port.number)
        if holder and holder[0] != own_pid:
            found.append(
                f"port 127.0.0.1:{port.number} ({port.what}) is in use by {holder[1]}; stop that, "
                f"or choose another with {port.option}"
            )
    return found


def _has(name: str) -> bool:
    return Path(name).exists() if name.startswith("/") else bool(shutil.which(name))


def _privileges() -> list[str]:
    status = Path("/proc/self/status").read_text()
    match = re.search(r"^CapEff:\s+([0-9a-f]+)$", status, re.MULTILINE)
    have = int(match.group(1), 16) if match else 0
    lacking = [name for name, bit in _CAPABILITIES.items() if not have >> bit & 1]
    if lacking:
        return [
            f"root here lacks {', '.join('CAP_' + name for name in lacking)}; "
            "a container has to be started as a privileged one"
        ]
    return []


def _places() -> list[str]:
    found = []
    wanted: dict[int, list[tuple[str, Path, int]]] = {}
    for variable, path, size in (
        ("KUBESTEAD_LAB_HOME", paths.home(), DISK_NODES),
        ("KUBESTEAD_CACHE", paths.cache(), DISK_BASES),
    ):
        there = _nearest(path)
        wanted.setdefault(there.stat().st_dev, []).append((variable, path, size))
        if variable == "KUBESTEAD_LAB_HOME" and (kind := _NO_UPPER.get(_file_system(there))) in (
            "overlayfs",
            "NFS",
        ):
            found.append(
                f"{path} lies on {kind}, which cannot carry nodes; "
                f"set {variable} to a folder on ext4, xfs or btrfs"
            )
    for entries in wanted.values():
        free = shutil.disk_usage(_nearest(entries[0][1])).free
        size = sum(entry[2] for entry in entries)
        if free < size:
            where = " and ".join(f"{path} ({variable})" for variable, path, _ in entries)
            found.append(
                f"{free / _GIB:.1f} GiB are free for {where}; expected at least {size / _GIB:.0f} GiB"
            )
    return found


def _nearest(path: Path) -> Path:
    return path if path.exists() else _nearest(path.parent)


def _file_system(path: Path) -> int:
    """Return the magic number of the file system that a path lies on."""
    buffer = ctypes.create_string_buffer(256)
    if ctypes.CDLL(None).statfs(str(path).encode(), buffer):
        return 0
    return ctypes.c_long.from_buffer(buffer).value & 0xFFFFFFFF


def free_memory() -> int | None:
    """Return how much memory can be had, in bytes; None where the kernel does not say."""
    match = re.search(r"^MemAvailable:\s+(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return int(match.group(1)) * 1024 if match else None


def _memory() -> list[str]:
    free = free_memory()
    if free is None or free >= MEMORY:
        return []
    return [f"{free / _GIB:.1f} GiB of memory are available; expected at least {MEMORY // _GIB} GiB"]


def kernel_modules() -> list[str]:
    """Return which of the modules that a node may ask for this kernel has, built in or loadable."""
    known = {path.name for path in Path("/sys/module").iterdir()}
    folder = Path("/lib/modules") / platform.release()
    for name in ("modules.builtin", "modules.dep"):
        if (folder / name).is_file():
            lines = (folder / name).read_text().splitlines()
            known |= {Path(line.partition(":")[0]).name.split(".ko")[0].replace("-", "_") for line in lines}
    config = Path("/proc/config.gz")
    if config.is_file():
        built_in = set(
            re.findall(r"^CONFIG_(\w+)=y$", gzip.decompress(config.read_bytes()).decode(), re.MULTILINE)
        )
        known |= {module for module, setting in _MODULES.items() if setting in built_in}
    if "overlay" in Path("/proc/filesystems").read_text().split():
        known.add("overlay")
    return sorted(set(_MODULES) & known)


def load_kernel_modules() -> None:
    """Load what nodes share with this computer's kernel, where it comes as modules."""
    if not (Path("/lib/modules") / platform.release() / "modules.dep").is_file() or not shutil.which(
        "modprobe"
    ):
        return
    absent = [name for name in (*_NEEDED, *_USEFUL) if not (Path("/sys/module") / name).is_dir()]
    if wanted := [name for name in absent if name in kernel_modules()]:
        run(["modprobe", "--all", *wanted])


def port_holder(port: int) -> tuple[int | None, str] | None:
    """Return who listens on a port of the loopback, as process number and words; None when it is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            pid = _listener(port)
            if pid is None:
                return None, "a process that cannot be seen from here"
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            return pid, f"{name} (process {pid})"
    return None


def _listener(port: int) -> int | None:
    inodes = set()
    for table in ("tcp", "tcp6"):
        path = Path("/proc/net") / table
        for line in path.read_text().splitlines()[1:] if path.is_file() else []:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    for folder in Path("/proc").glob("[0-9]*/fd"):
        try:
            for descriptor in folder.iterdir():
                if os.readlink(descriptor) in inodes:
                    return int(folder.parent.name)
        except OSError:
            continue
    return None
