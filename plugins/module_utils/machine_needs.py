# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a machine has, against what it takes to be a node: memory, processors, room, networks of its own."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

from . import identity
from .address_ranges import Checked, Network, parse_ranges
from .host import read_text
from .programs import Runner, run_program

#: Where nodes keep what grows; the file systems below these have to have room.
ROOM = ("var/lib/containerd", "var/lib/containers", "var/lib/kubelet", "var/lib/etcd")
#: Links that pod networks make: their addresses are pods', not the machine's.
_POD_LINKS = re.compile(
    r"(cni\d|flannel|cali|vxlan\.calico|vxlan-v6\.calico|tunl\d|wireguard\.cali|cilium|lxc|veth|kube-|nodelocal)"
)
_MIB = 1024 * 1024


@dataclass(frozen=True)
class Needs:
    """What it takes; sizes in MiB, room on each file system that a node writes to."""

    memory: int = 0
    cpus: int = 1
    disk: int = 0


@dataclass
class Machine:
    """What there is."""

    memory: int = 0
    cpus: int = 0
    #: free room by folder, one folder for each file system
    disk: dict[str, int] = field(default_factory=dict)
    #: networks on the machine's own links, and those that it has routes to
    networks: dict[str, str] = field(default_factory=dict)
    routes: dict[str, str] = field(default_factory=dict)
    #: whether it is a node of a cluster already
    member: bool = False
    #: by what others tell it from its like
    machine_id: str = ""
    product_uuid: str = ""


def _memory(root: Path) -> int:
    match = re.search(r"^MemTotal:\s+(\d+) kB", read_text(root / "proc/meminfo") or "", re.MULTILINE)
    return int(match.group(1)) // 1024 if match else 0


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def _disk(root: Path) -> dict[str, int]:
    found: dict[int, tuple[str, int]] = {}
    for name in ROOM:
        path = _existing(root / name)
        device = path.stat().st_dev
        if device not in found:
            room = os.statvfs(path)
            found[device] = (str(path), room.f_bavail * room.f_frsize // _MIB)
    return dict(found.values())


def _listed(run: Runner, *words: str) -> list[dict[str, t.Any]]:
    code, out, _err = run(["ip", "-json", *words])
    try:
        listed = json.loads(out) if code == 0 and out.strip() else []
    except ValueError:
        return []
    return [entry for entry in listed if isinstance(entry, dict)]


def _networks(run: Runner) -> dict[str, str]:
    """The networks of the machine's own links, each with the link's name."""
    found = {}
    for link in _listed(run, "address", "show"):
        name = str(link.get("ifname", ""))
        if _POD_LINKS.match(name):
            continue
        for entry in link.get("addr_info", []):
            if entry.get("scope") == "global" and "local" in entry:
                interface = ipaddress.ip_interface(f"{entry['local']}/{entry.get('prefixlen', 32)}")
                found[str(interface.network)] = name
    return found


def _routes(run: Runner) -> dict[str, str]:
    found = {}
    for family in ("-4", "-6"):
        for route in _listed(run, family, "route", "show"):
            name = str(route.get("dev", ""))
            try:
                network = ipaddress.ip_network(str(route.get("dst", "")))
            except ValueError:
                continue  # default
            if not _POD_LINKS.match(name) and not network.is_link_local and not network.is_multicast:
                found[str(network)] = name
    return found


def look(root: Path = Path("/"), run: Runner = run_program) -> Machine:
    """Find out what this machine has."""
    try:
        cpus = len(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        cpus = os.cpu_count() or 0
    return Machine(
        memory=_memory(root),
        cpus=cpus,
        disk=_disk(root),
        networks=_networks(run),
        routes=_routes(run),
        member=(root / "etc/kubernetes/kubelet.conf").exists(),
        machine_id=identity.machine_id(root),
        product_uuid=identity.product_uuid(root),
    )


def judge(machine: Machine, needs: Needs, ranges: t.Mapping[str, str], vip: str = "") -> Checked:
    """Say what is too little, and which ranges are taken. A node at work is only warned of its room."""
    checked = Checked()
    if machine.memory and machine.memory < needs.memory:
        checked.problems.append(
            f"it has {machine.memory} MiB of memory, expected {needs.memory} MiB at least."
        )
    if machine.cpus < needs.cpus:
        checked.problems.append(f"it has {machine.cpus} processors, expected {needs.cpus} at least.")
    for folder, free in machine.disk.items():
        if free < needs.disk:
            text = f"{folder} has {free} MiB of room, expected {needs.disk} MiB at least."
            (checked.warnings if machine.member else checked.problems).append(text)
    checked.problems += _overlaps(machine, ranges)
    if vip and machine.networks and not _on_link(machine, vip):
        checked.problems.append(
            f"control_plane_endpoint_vip {vip} is in none of its networks ({', '.join(machine.networks)}), "
            "so it could not carry it; take a free address of one of them."
        )
    return checked


def _on_link(machine: Machine, address: str) -> bool:
    return any(ipaddress.ip_address(address) in ipaddress.ip_network(network) for network in machine.networks)


def _overlaps(machine: Machine, ranges: t.Mapping[str, str]) -> list[str]:
    # A node's routes into the pods' range are the pod network's own.
    theirs = {**({} if machine.member else machine.routes), **machine.networks}
    problems = []
    for name, text in ranges.items():
        own: list[Network] = parse_ranges(name, text)[0]
        for network, link in theirs.items():
            other = ipaddress.ip_network(network)
            problems += [
                f"{name} {one} overlaps with {network}, which it reaches by {link}; take a range that is not "
                "in use."
                for one in own
                if one.version == other.version and one.overlaps(other)
            ]
    return problems
