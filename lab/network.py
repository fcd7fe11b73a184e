# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's network: a bridge in a network namespace of its own, and one namespace for each node.

Nothing of it is seen in this computer's own network: two labs have the same addresses and never meet.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from lab.errors import LabError
from lab.process import Process, run
from lab.spec import GATEWAY, NETWORK, NodeSpec, mac_of

NAMESPACES = Path("/run/netns")
_CLONE_NEWNET = 0x40000000
BRIDGE = "br0"
_libc = ctypes.CDLL(None, use_errno=True)
_T = TypeVar("_T")


def lab_namespace(lab: str) -> str:
    """Name the namespace of the bridge."""
    return f"ks-{lab}"


def node_namespace(lab: str, node: str) -> str:
    """Name the namespace of a node. A lab's name has no dot: no two labs' names can be confused."""
    return f"ks-{lab}.{node}"


def exists(namespace: str) -> bool:
    """Say whether a namespace is there: a file of that name alone is a crash's remains."""
    path = NAMESPACES / namespace
    try:
        return path.stat().st_dev != NAMESPACES.stat().st_dev
    except FileNotFoundError:
        return False


def ensure_lab(lab: str) -> None:
    """Make the bridge and its namespace, or what is missing of them."""
    namespace = lab_namespace(lab)
    _ensure_namespace(namespace)
    bridge = _link(namespace, BRIDGE)
    if (
        bridge
        and any(address["local"] == GATEWAY for address in bridge["addr_info"])
        and "UP" in bridge["flags"]
    ):
        return
    # With an address of its own: else it takes that of a port, another whenever a machine comes or goes.
    create = f"link add {BRIDGE} address {mac_of(GATEWAY)} type bridge stp_state 0 forward_delay 0"
    commands = [] if bridge else [create]
    commands += [f"addr replace {GATEWAY}/{NETWORK.prefixlen} dev {BRIDGE}", f"link set {BRIDGE} up"]
    _ip(namespace, commands)


def ensure_node(lab: str, spec: NodeSpec) -> None:
    """Give a node its namespace with eth0 on the bridge."""
    namespace, bridge = node_namespace(lab, spec.name), lab_namespace(lab)
    _ensure_namespace(namespace)
    link = _link(namespace, "eth0")
    if (
        link
        and link["address"] == spec.mac
        and _has(link, spec.ip)
        and "UP" in link["flags"]
        and _has_route(namespace)
    ):
        return
    port = f"port{spec.ip.rpartition('.')[2]}"
    if link:
        _ip(namespace, ["link del eth0"])
    elif _link(bridge, port):
        _ip(bridge, [f"link del {port}"])
    _ip(
        bridge,
        [
            f"link add {port} type veth peer name eth0 netns {namespace} address {spec.mac}",
            f"link set {port} master {BRIDGE} up",
        ],
    )
    _ip(
        namespace,
        [
            f"addr add {spec.ip}/{NETWORK.prefixlen} dev eth0",
            "link set eth0 up",
            f"route replace default via {GATEWAY}",
        ],
    )


def plug(lab: str, port: str) -> None:
    """Put a port that is there on the bridge, or leave it there."""
    _ip(lab_namespace(lab), [f"link set {port} master {BRIDGE} up"])


def remove(namespace: str) -> None:
    """Remove a namespace and every interface in it."""
    if (NAMESPACES / namespace).exists():
        if exists(namespace):
            run(["ip", "netns", "del", namespace])
        else:
            (NAMESPACES / namespace).unlink()


def end_processes(namespace: str) -> None:
    """End what runs in a namespace, such as a playbook that outlived whoever started it."""
    if not exists(namespace):
        return
    found = [one for one in map(Process.of, _pids(namespace)) if one]
    if any(one.pid == os.getpid() for one in found):
        raise LabError(f"this command itself runs in {namespace}: call it from outside the lab's network")
    if not found:
        return
    with ThreadPoolExecutor(len(found)) as pool:
        ended = list(pool.map(Process.end, found))
    if stubborn := [one.pid for one, done in zip(found, ended, strict=True) if not done]:
        raise LabError(f"{namespace}: these processes do not end: {' '.join(map(str, stubborn))}")


def _pids(namespace: str) -> list[int]:
    return [int(pid) for pid in run(["ip", "netns", "pids", namespace]).split()]


def inside(namespace: str, action: Callable[[], _T]) -> _T:
    """Call a function in a network namespace; the sockets that it makes stay in there.

    Only a thread of its own enters the namespace: the rest of the process never leaves its own.
    """
    results: list[_T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            _enter(namespace)
            results.append(action())
        except BaseException as error:  # handed on below
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def answers(namespace: str, address: str, port: int, timeout: float = 1) -> bool:
    """Say whether something accepts connections at an address in a namespace."""

    def connect() -> bool:
        try:
            with socket.create_connection((address, port), timeout=timeout):
                return True
        except OSError:
            return False

    return inside(namespace, connect)


def _enter(namespace: str) -> None:
    descriptor = os.open(NAMESPACES / namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(descriptor, _CLONE_NEWNET):
            number = ctypes.get_errno()
            raise LabError(f"network namespace {namespace} cannot be entered: {os.strerror(number)}")
    finally:
        os.close(descriptor)


def _ensure_namespace(namespace: str) -> None:
    if not exists(namespace):
        (NAMESPACES / namespace).unlink(missing_ok=True)
        run(["ip", "netns", "add", namespace])
    loopback = _link(namespace, "lo")
    if loopback and "UP" not in loopback["flags"]:
        _ip(namespace, ["link set lo up"])


def _link(namespace: str, name: str) -> dict[str, Any] | None:
    links: list[dict[str, Any]] = json.loads(run(["ip", "-n", namespace, "-json", "addr", "show"]) or "[]")
    return next((link for link in links if link.get("ifname") == name), None)


def _has(link: dict[str, Any], ip: str) -> bool:
    return any(address.get("local") == ip for address in link["addr_info"])


def _has_route(namespace: str) -> bool:
    return bool(json.loads(run(["ip", "-n", namespace, "-json", "route", "show", "default"]) or "[]"))


def _ip(namespace: str, commands: list[str]) -> None:
    run(["ip", "-n", namespace, "-batch", "-"], stdin="".join(command + "\n" for command in commands))
