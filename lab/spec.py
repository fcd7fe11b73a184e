# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node should be."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import yaml

from kubestead.model.mac import EXPECTED, is_group_address, is_mac, normalise_mac
from lab.errors import InputError

NETWORK = ipaddress.ip_network("10.77.0.0/24")
GATEWAY = "10.77.0.1"
SUITES = {"debian-12": "bookworm", "debian-13": "trixie"}
PYTHONS = {"debian-12": "3.11", "debian-13": "3.13"}

# `ks-<lab>-<node>` names a network namespace and a systemd unit, and the host name goes into certificates.
_NAME = re.compile(r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$")
_LAB = re.compile(r"^[a-z0-9][a-z0-9-]{0,30}$")


def check_lab_name(name: str) -> str:
    """Return the name if it can name a lab."""
    if not _LAB.match(name):
        raise InputError(
            f"lab name {name!r}: expected lower-case letters, digits and '-', at most 31 of them"
        )
    return name


@dataclass(frozen=True)
class NodeSpec:
    """A node's name, operating system, address and MAC."""

    name: str
    os: str
    ip: str
    mac: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "mac", normal_mac(self.mac or mac_of(self.ip)))
        if problems := self._problems():
            raise InputError(*problems)

    def _problems(self) -> list[str]:
        problems = identity_problems("node", self.name, self.ip, self.mac)
        if self.os not in SUITES:
            problems.append(
                f"node {self.name}: os {self.os!r} cannot be made in the lab; "
                f"expected one of {', '.join(SUITES)}"
            )
        return problems

    @classmethod
    def parse(cls, text: str) -> NodeSpec:
        """Read NAME:OS:IP[:MAC]."""
        parts = text.split(":", 3)
        if len(parts) < 3:
            raise InputError(
                f"node {text!r}: expected NAME:OS:IP[:MAC], for example web:debian-12:10.77.0.31"
            )
        return cls(*parts)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> NodeSpec:
        """Read what `to_dict` wrote; other keys are passed over."""
        return cls(values["name"], values["os"], values["ip"], values["mac"])

    def to_dict(self) -> dict[str, str]:
        """Return the specification as plain data."""
        return asdict(self)


def read_platforms(path: Path) -> list[NodeSpec]:
    """Read the nodes that a molecule.yml names under `platforms`."""
    try:
        platforms = yaml.safe_load(path.read_text(encoding="utf-8"))["platforms"]
        entries = [(one["name"], one["os"], one["ip"], one.get("mac", "")) for one in platforms]
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: no nodes can be read ({type(error).__name__}: {error}); "
            "expected `platforms`, each with name, os and ip"
        ) from error
    return [NodeSpec(*entry) for entry in entries]


class Identified(Protocol):
    """What stands in the lab's network: a node or a virtual machine."""

    @property
    def name(self) -> str: ...

    @property
    def ip(self) -> str: ...

    @property
    def mac(self) -> str: ...


def identity_problems(kind: str, name: str, ip: str, mac: str) -> list[str]:
    """Return what is wrong with a name, an address and a MAC."""
    problems = []
    if not _NAME.match(name):
        problems.append(
            f"{kind} {name!r}: expected a host name of lower-case letters, digits and '-', at most 40"
        )
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        problems.append(f"{kind} {name}: {ip!r} is no IP address; expected one of {NETWORK}")
    else:
        if address not in NETWORK or ip in (GATEWAY, str(NETWORK[0]), str(NETWORK[-1])):
            problems.append(
                f"{kind} {name}: address {ip} is not free in the lab; "
                f"expected one of {NETWORK} other than {GATEWAY}"
            )
    if not is_mac(mac) or is_group_address(mac):
        problems.append(f"{kind} {name}: {mac!r} is no MAC of a machine; expected {EXPECTED}")
    return problems


def check_together(specs: Sequence[Identified]) -> None:
    """Refuse nodes and machines that share a name, an address or a MAC."""
    problems = []
    for what in ("name", "ip", "mac"):
        seen: dict[str, Identified] = {}
        for spec in specs:
            value = getattr(spec, what)
            if value in seen:
                problems.append(f"{seen[value].name} and {spec.name} have the same {what} {value}")
            seen[value] = spec
    if problems:
        raise InputError(*problems)


def normal_mac(mac: str) -> str:
    """Return a MAC in the normal form; what is none stays, to be told as it was typed."""
    return normalise_mac(mac) if is_mac(mac) else mac


def mac_of(ip: str) -> str:
    """Return the MAC that goes with an address where no other is given."""
    try:
        octets = ipaddress.IPv4Address(ip).packed
    except ValueError:
        return ""
    return "52:54:00:" + ":".join(f"{octet:02x}" for octet in octets[1:])
