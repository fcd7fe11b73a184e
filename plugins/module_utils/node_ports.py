# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ports on which a node has to be reached: by its role and by its pod network."""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple, Sequence

CONTROL_PLANE = "control_plane"
WORKER = "worker"
NONE = "none"


class Port(NamedTuple):
    """A port or a range of ports (`30000-32767`), and why it is needed."""

    number: str
    protocol: str
    why: str

    def __str__(self) -> str:
        return f"{self.number}/{self.protocol}"


KUBELET = (
    Port("10250", "tcp", "kubelet"),
    Port("10256", "tcp", "kube-proxy, asked by load balancers whether it is well"),
)
ETCD = Port("2379-2380", "tcp", "etcd")

# By pod network, then by how it carries packets; "" is always there.
NETWORKS: dict[str, dict[str, tuple[Port, ...]]] = {
    "flannel": {
        "": (),
        "vxlan": (Port("8472", "udp", "flannel, VXLAN"),),
        "wireguard": (Port("51820-51821", "udp", "flannel, WireGuard"),),
        "udp": (Port("8285", "udp", "flannel, UDP"),),
        "host-gw": (),
    },
    "calico": {
        "": (Port("5473", "tcp", "Calico, Typha"),),
        "vxlan": (Port("4789", "udp", "Calico, VXLAN"),),
        "bgp": (Port("179", "tcp", "Calico, BGP"),),
        "ipip": (),
        "wireguard": (Port("51820-51821", "udp", "Calico, WireGuard"),),
    },
    "cilium": {
        "": (
            Port("8472", "udp", "Cilium, VXLAN"),
            Port("4240", "tcp", "Cilium, health of the nodes"),
            Port("4244", "tcp", "Cilium, Hubble"),
        ),
        "wireguard": (Port("51871", "udp", "Cilium, WireGuard"),),
        "geneve": (Port("6081", "udp", "Cilium, Geneve"),),
    },
    "none": {"": ()},
}

# IP protocols beside TCP and UDP: by name for people, by number for rules.
VRRP, IPIP = 112, 4

_EXTRA = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?/(tcp|udp)")


def needed(role: str, network: str, carriers: Sequence[str], api_ports: Sequence[int]) -> list[Port]:
    """What a node of that role needs; nothing for a machine that is in no cluster."""
    if role == NONE:
        return []
    ports = list(KUBELET)
    if role == CONTROL_PLANE:
        ports += [Port(str(port), "tcp", "Kubernetes API") for port in dict.fromkeys(api_ports)]
        ports.append(ETCD)
    for carrier in dict.fromkeys(["", *carriers]):
        ports += NETWORKS[network].get(carrier, ())
    node_ports = "services of type NodePort"
    return [*ports, Port("30000-32767", "tcp", node_ports), Port("30000-32767", "udp", node_ports)]


def protocols(role: str, carriers: Sequence[str]) -> list[int]:
    """IP protocols that it needs beside TCP, UDP and ICMP."""
    wanted = [VRRP] if role == CONTROL_PLANE else []
    return [*wanted, IPIP] if role != NONE and "ipip" in carriers else wanted


def parse_extra(texts: Sequence[str]) -> tuple[list[Port], list[str]]:
    """Ports from `9100/tcp` and `6881-6889/udp`, and sentences about those that are none."""
    ports, problems = list[Port](), list[str]()
    for text in texts:
        match = _EXTRA.fullmatch(str(text))
        first, last = (int(match.group(1)), int(match.group(2) or match.group(1))) if match else (0, 0)
        if match and 0 < first <= last < 65536:
            ports.append(Port(text.partition("/")[0], match.group(3), "asked for"))
        else:
            problems.append(f"{text!r} is no port, expected one such as 9100/tcp or 6881-6889/udp.")
    return ports, problems


def parse_networks(texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """Networks in their usual form, and sentences about those that are none."""
    networks, problems = list[str](), list[str]()
    for text in texts:
        try:
            networks.append(str(ipaddress.ip_network(text, strict=False)))
        except ValueError:
            problems.append(f"{text!r} is no network, expected one such as 10.0.0.0/24.")
    return networks, problems


def is_ipv6(network: str) -> bool:
    """Whether a network is one of IPv6."""
    return ":" in network


def covers(ports: Sequence[Port], number: int, protocol: str) -> bool:
    """Whether one of the ports, or a range of them, is this one."""
    for port in ports:
        first, _dash, last = port.number.partition("-")
        if port.protocol == protocol and int(first) <= number <= int(last or first):
            return True
    return False
