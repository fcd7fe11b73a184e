# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine says of the address in front of its cluster: interfaces, neighbours, answers."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import ipaddress
import json
import re
import socket
import ssl
import struct
import time
import typing as t
from pathlib import Path

from .endpoint_plan import join_endpoint, parse_address
from .host import read_text
from .kubeconfig import Client, KubeconfigError, load_kubeconfig

_SERVER = re.compile(r"^\s*server:\s*[\"']?([^\s\"']+)", re.MULTILINE)
_ARP = 0x0806
_ARP_REPLY = 2
_ARP_LENGTH = 42


class Held(t.NamedTuple):
    """An address that an interface has."""

    interface: str
    address: str
    bits: int

    @property
    def network(self) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
        """The network that it is in."""
        return ipaddress.ip_interface(f"{self.address}/{self.bits}").network


def addresses(text: str) -> list[Held]:
    """The addresses that `ip -json address show` tells."""
    return [
        Held(link["ifname"], info["local"], info["prefixlen"])
        for link in json.loads(text or "[]")
        if "ifname" in link
        for info in link.get("addr_info", [])
        if "local" in info
    ]


def interface_of(held: t.Sequence[Held], address: str) -> str:
    """The interface that has the address; nothing when none has."""
    wanted = parse_address(address)
    return next((one.interface for one in held if parse_address(one.address) == wanted), "")


def network_problem(held: t.Sequence[Held], interface: str, vip: str) -> str:
    """Nothing when the virtual address lies in a network of the interface, else a sentence."""
    if interface not in {one.interface for one in held}:
        known = ", ".join(sorted({one.interface for one in held}))
        return f"control_plane_endpoint_interface is {interface}, expected one with an address: {known}."
    address = ipaddress.ip_address(vip)
    networks = [
        one.network for one in held if one.interface == interface and parse_address(one.address) != address
    ]
    near = [
        network for network in networks if network.version == address.version and network.num_addresses > 1
    ]
    if any(address in network for network in near):
        return ""
    told = ", ".join(str(network) for network in near) or "none"
    return (
        f"control_plane_endpoint_vip is {vip}, which is in no network of {interface} ({told}): others would "
        "not find it there. Take a free address of that network, or name the interface in "
        "control_plane_endpoint_interface."
    )


def cluster_endpoint(root: Path = Path("/")) -> str:
    """Where the administrator's kubeconfig on this control plane leads; nothing when there is no cluster.

    Without data of etcd there is none yet, whatever an interrupted run has written.
    """
    if not (root / "var/lib/etcd/member").exists():
        return ""
    found = _SERVER.search(read_text(root / "etc/kubernetes/admin.conf") or "")
    return found.group(1) if found else ""


def may_lead(kubeconfig: Path, address: str, port: int) -> bool:
    """Whether the API server at the address lets the kubeconfig's user read the leases of kube-system."""
    try:
        known = load_kubeconfig(kubeconfig)
        here = dataclasses.replace(known, server=f"https://{join_endpoint(address, port)}")
        path = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases?limit=1"
        return Client(here, check_name=False).request(path).ok
    except KubeconfigError:
        return False


def resolve(host: str) -> set[str]:
    """The addresses of a host, as this machine knows them; none when it does not."""
    try:
        return {str(info[4][0]) for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except OSError:
        return set()


def connects(host: str, port: int, timeout: float = 2) -> bool:
    """Whether something takes a connection."""
    try:
        with socket.create_connection((host, port), timeout=timeout):
            return True
    except OSError:
        return False


def get(
    host: str, port: int, path: str, *, tls: bool = True, ca_file: str | None = None, timeout: float = 5
) -> tuple[int, str]:
    """The status of a GET and nothing, or 0 and what was wrong. The certificate is looked at with a CA."""
    connection: http.client.HTTPConnection
    if tls:
        context = ssl.create_default_context(cafile=ca_file)
        if ca_file is None:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection(host, port, timeout=timeout, context=context)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=timeout)
    with contextlib.closing(connection):
        try:
            connection.request("GET", path)
            return connection.getresponse().status, ""
        except (OSError, http.client.HTTPException) as error:
            return 0, str(error) or type(error).__name__


def who_has(interface: str, addresses_asked: t.Sequence[str], timeout: float = 1.0) -> dict[str, set[str]]:
    """The MACs that answer for IPv4 addresses on the interface, asked by ARP as a machine without an address.

    Each is asked three times; it ends early when all have answered.
    """
    found: dict[str, set[str]] = {address: set() for address in addresses_asked}
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ARP)) as wire:
        wire.bind((interface, _ARP))
        own = wire.getsockname()[4]
        until = time.monotonic() + timeout
        ask_at = time.monotonic()
        while time.monotonic() < until and not all(found.values()):
            if time.monotonic() >= ask_at:
                for address in addresses_asked:
                    wire.send(arp_question(own, address))
                ask_at += timeout / 3
            wire.settimeout(max(0.01, min(ask_at, until) - time.monotonic()))
            with contextlib.suppress(socket.timeout):
                sender, mac = arp_sender(wire.recv(2048))
                if sender in found:
                    found[sender].add(mac)
    return found


def arp_question(own: bytes, address: str) -> bytes:
    """A frame that asks who has the address, as a machine without one does: nobody learns from it."""
    ethernet = b"\xff" * 6 + own + struct.pack("!H", _ARP)
    head = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
    return ethernet + head + own + b"\0" * 4 + b"\0" * 6 + socket.inet_aton(address)


def arp_sender(frame: bytes) -> tuple[str, str]:
    """Address and MAC of the sender of an ARP reply; two empty texts for any other frame."""
    if len(frame) < _ARP_LENGTH or struct.unpack("!H", frame[20:22])[0] != _ARP_REPLY:
        return "", ""
    return socket.inet_ntoa(frame[28:32]), frame[22:28].hex(":")
