# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The address in front of a cluster's API servers: which one it is, and what is wrong with the settings."""

from __future__ import annotations

import ipaddress
import re
import typing as t

from .address_ranges import parse_ranges

NONE, HAPROXY, KUBE_VIP, EXTERNAL = MODES = ("none", "haproxy", "kube_vip", "external")
#: Modes in which the control planes hold a virtual address among themselves.
VIRTUAL = (HAPROXY, KUBE_VIP)

Address = t.Union[ipaddress.IPv4Address, ipaddress.IPv6Address]

_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?(\.[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?)*")
_NUMBERS = ("port", "api_port", "monitor_port", "virtual_router_id")
#: Ports of a control plane that HAProxy must leave alone.
_TAKEN = {2379: "etcd", 2380: "etcd", 10250: "the kubelet"}


def parse_address(text: str) -> Address | None:
    """The address, or None where the text is none."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def join_endpoint(host: str, port: int) -> str:
    """`HOST:PORT`, with the brackets that IPv6 needs."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_endpoint(text: str) -> tuple[str, int] | None:
    """Host and port of `HOST:PORT`, also of a URL; None where it is neither."""
    bare = text.partition("://")[2] or text
    host, _colon, port = bare.rstrip("/").rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        known = isinstance(parse_address(host), ipaddress.IPv6Address)
    else:
        known = bool(_NAME.fullmatch(host))
    if not known or not port.isdecimal() or not 0 < int(port) < 65536:
        return None
    return host, int(port)


ADMIN = "/etc/kubernetes/admin.conf"
SUPER_ADMIN = "/etc/kubernetes/super-admin.conf"


class Seen(t.NamedTuple):
    """What is true on a control plane that is to have kube-vip."""

    #: whether the API server here lets admin.conf's user in, with rights
    leads: bool
    #: whether that API server is ready
    ready: bool
    #: which of the two kubeconfigs are there
    files: t.Collection[str]
    #: the kubeconfig that kube-vip has here already; nothing without kube-vip
    present: str = ""


def kube_vip_kubeconfig(seen: Seen, first: bool, super_admin: bool) -> str:
    """What kube-vip is to use; nothing where it has to wait until this machine is in a cluster.

    Until kubeadm has given admin.conf its rights, which it does through the endpoint, only super-admin.conf
    has any. It is made, from Kubernetes 1.29 on (`super_admin`), where the cluster is made (`first`).
    """
    if seen.leads:
        return ADMIN
    # A cluster whose API server does not answer now cannot be asked what is right.
    if seen.present and not seen.ready and ADMIN in seen.files:
        return seen.present
    if not first:
        return ""
    return SUPER_ADMIN if super_admin and (SUPER_ADMIN in seen.files or ADMIN not in seen.files) else ADMIN


class Settings(t.NamedTuple):
    """What was asked for. `members` are the control planes, `machines` all machines: addresses by host."""

    mode: str
    members: t.Mapping[str, str]
    vip: str = ""
    name: str = ""
    port: int = 6443
    external: str = ""
    api_port: int = 6443
    monitor_port: int = 8404
    virtual_router_id: int = 51
    machines: t.Mapping[str, str] = {}
    pod_subnet: str = ""
    service_subnet: str = ""


def endpoint(settings: Settings) -> str:
    """`HOST:PORT` as it goes into the cluster; nothing where the settings do not say it."""
    if settings.mode == EXTERNAL:
        return settings.external
    if settings.mode in VIRTUAL:
        host = settings.name or settings.vip
        return join_endpoint(host, settings.port) if host else ""
    first = next(iter(settings.members.values()), "")
    return join_endpoint(first, settings.api_port) if first else ""


def plan(given: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """`endpoint` and `problems` of settings as Ansible has them, where numbers may be texts."""
    numbers = {name: int(given[name]) for name in _NUMBERS if name in given}
    settings = Settings(**{**given, **numbers})
    return {"endpoint": endpoint(settings), "problems": problems(settings)}


def problems(settings: Settings) -> list[str]:
    """All that is wrong, in sentences."""
    if settings.mode == NONE:
        return _none_problems(settings)
    if settings.mode == EXTERNAL:
        return _external_problems(settings)
    return _vip_problems(settings) + _virtual_problems(settings)


def _none_problems(settings: Settings) -> list[str]:
    if len(settings.members) < 2:
        return []
    return [
        f"{len(settings.members)} control planes ({', '.join(settings.members)}) need one address in front "
        "of their API servers, and control_plane_endpoint_mode is none. Set control_plane_endpoint_mode to "
        "haproxy or kube_vip with control_plane_endpoint_vip, a free address of their network; or to "
        "external with control_plane_endpoint_external, the HOST:PORT of a balancer of your own."
    ]


def _external_problems(settings: Settings) -> list[str]:
    if split_endpoint(settings.external) and "/" not in settings.external:
        return []
    return [
        f"control_plane_endpoint_external is {settings.external!r}, expected HOST:PORT of the balancer in "
        "front of the control planes, such as api.example:6443."
    ]


def _vip_problems(settings: Settings) -> list[str]:
    if not settings.vip:
        return [
            f"control_plane_endpoint_vip is not set: {', '.join(settings.members)} need a virtual address in "
            f"front of their API servers (control_plane_endpoint_mode is {settings.mode}). Set it to a free "
            "address of their network, outside of what DHCP hands out; or set control_plane_endpoint_mode to "
            "external, with control_plane_endpoint_external."
        ]
    vip = parse_address(settings.vip)
    if vip is None:
        return [
            f"control_plane_endpoint_vip is {settings.vip!r}, expected an address without a prefix, such as "
            "10.0.0.100."
        ]
    found = []
    if vip.is_loopback or vip.is_multicast or vip.is_link_local or vip.is_unspecified:
        found.append(
            f"control_plane_endpoint_vip is {vip}, which is reserved (loopback, link-local or multicast), "
            "expected a free address of the control planes' network."
        )
    for host, text in {**settings.machines, **settings.members}.items():
        if parse_address(text) == vip:
            found.append(
                f"control_plane_endpoint_vip is {vip}, the address of {host} itself; take one that no "
                "machine has."
            )
    ranges = (("pod", settings.pod_subnet), ("service", settings.service_subnet))
    for name, text in ranges:
        networks = parse_ranges(name, text)[0] if text else []
        found += [
            f"control_plane_endpoint_vip is {vip}, which lies in the {name} range {network}; take a free "
            "address of the control planes' network."
            for network in networks
            if network.version == vip.version and vip in network
        ]
    for host, text in settings.members.items():
        address = parse_address(text)
        if address is None:
            found.append(f"{host} has the address {text!r}, expected an IP address.")
        elif address.version != vip.version:
            found.append(
                f"control_plane_endpoint_vip is {vip}, and {host} has {address}: expected both to be IPv4, "
                "or both IPv6."
            )
    return found


def _virtual_problems(settings: Settings) -> list[str]:
    found = []
    if settings.name and not _NAME.fullmatch(settings.name):
        found.append(f"control_plane_endpoint_name is {settings.name!r}, expected a DNS name.")
    if settings.mode == KUBE_VIP:
        if settings.port != settings.api_port:
            found.append(
                f"control_plane_endpoint_port is {settings.port}, expected {settings.api_port}: with "
                "kube-vip the virtual address leads to the API server of the machine that holds it, at "
                "its own port."
            )
        return found
    if not 1 <= settings.virtual_router_id <= 255:
        found.append(
            f"control_plane_endpoint_virtual_router_id is {settings.virtual_router_id}, expected 1 to 255."
        )
    taken = {**_TAKEN, settings.api_port: "the API server", settings.monitor_port: "HAProxy's own checks"}
    if settings.port in taken:
        found.append(
            f"control_plane_endpoint_port is {settings.port}, the port of {taken[settings.port]} on the "
            "same machine; HAProxy needs one of its own, such as 8443."
        )
    elif not 0 < settings.port < 65536:
        found.append(f"control_plane_endpoint_port is {settings.port}, expected 1 to 65535.")
    return found
