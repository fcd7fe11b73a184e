# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the machines of a cluster and its address ranges against each other, before anything is touched."""

from __future__ import annotations

import ipaddress
import re
import typing as t
from dataclasses import dataclass, field

Network = t.Union[ipaddress.IPv4Network, ipaddress.IPv6Network]

_NODE_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
#: The API server keeps a bit for every service address and takes no larger range than this.
_LARGEST_SERVICE_BITS = 20
_NODE_BITS = {4: 24, 6: 64}


@dataclass
class Checked:
    """What was found; nothing is to be touched when there are problems."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def as_list(problems: t.Sequence[str]) -> str:
    """Return problems a line each; names of hosts and variables stay as they are at the beginning of one."""
    return "".join(
        f"\n- {line[:1].upper() + line[1:] if line.split(' ')[0] in ('the', 'it') else line}"
        for line in problems
    )


def parse_ranges(name: str, text: str) -> tuple[list[Network], list[str]]:
    """Read one range, or one for each address family with a comma between; return ranges and problems."""
    networks: list[Network] = []
    problems = []
    for part in str(text).split(","):
        try:
            networks.append(ipaddress.ip_network(part.strip()))
        except ValueError as error:
            problems.append(
                f"{name} is {part.strip()!r}, expected an address range such as 10.244.0.0/16 ({error})."
            )
    families = [network.version for network in networks]
    if len(set(families)) != len(families):
        problems.append(f"{name} is {text!r}, expected at most one range for each of IPv4 and IPv6.")
    return networks, problems


def load_balancer_networks(ranges: t.Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Read ranges as 10.0.0.64/28 or 10.0.0.64-10.0.0.79; return networks by their use, and problems."""
    networks, problems = {}, []
    for text in ranges:
        ends = [part.strip() for part in str(text).split("-")]
        try:
            if len(ends) == 2:
                first, last = (ipaddress.ip_address(end) for end in ends)
                found = [str(network) for network in ipaddress.summarize_address_range(first, last)]
            else:
                found = [str(ipaddress.ip_network(ends[0]))]
        except (ValueError, TypeError) as error:
            problems.append(
                f"cni_load_balancer_ranges has {text!r}, expected 10.0.0.64/28 or 10.0.0.64-10.0.0.79 "
                f"({error})."
            )
            continue
        networks.update({f"the load balancers' range {text}, part {network}": network for network in found})
    return networks, problems


def _unusable(name: str, network: Network) -> list[str]:
    if network.is_loopback or network.is_multicast or network.is_link_local or network.is_unspecified:
        return [
            f"{name} is {network}, which is reserved (loopback, link-local or multicast); take a private "
            "range."
        ]
    return []


def check_ranges(ranges: t.Mapping[str, str], addresses: t.Mapping[str, str]) -> list[str]:
    """Check named ranges for form and overlap, among themselves and with the machines' addresses."""
    problems: list[str] = []
    networks: list[tuple[str, Network]] = []
    for name, text in ranges.items():
        found, wrong = parse_ranges(name, text)
        problems += wrong
        networks += [(name, network) for network in found]
    for name, network in networks:
        problems += _unusable(name, network)
    for number, (name, network) in enumerate(networks):
        for other_name, other in networks[number + 1 :]:
            if name != other_name and network.version == other.version and network.overlaps(other):
                problems.append(
                    f"{name} {network} and {other_name} {other} overlap; give each a range of its own."
                )
    for host, text in addresses.items():
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            continue  # a host name: what it means is known only later
        for name, network in networks:
            if address.version == network.version and address in network:
                problems.append(
                    f"{host} has the address {address}, which lies in {name} {network}; pods and services "
                    "need a range that no machine is in."
                )
    return problems


def check_sizes(pods: str, services: str, machines: int) -> list[str]:
    """Check that there is room for all machines, and that Kubernetes takes a service range of that size."""
    problems = []
    for network in parse_ranges("pods", pods)[0]:
        bits = _NODE_BITS[network.version]
        room = 2 ** (bits - network.prefixlen) if network.prefixlen <= bits else 0
        if room < machines:
            problems.append(
                f"The pod range {network} has room for {room} machines (a /{bits} each), there are "
                f"{machines}; take a larger range."
            )
    for network in parse_ranges("services", services)[0]:
        if network.max_prefixlen - network.prefixlen > _LARGEST_SERVICE_BITS:
            problems.append(
                f"The service range {network} is too large, expected at most "
                f"/{network.max_prefixlen - _LARGEST_SERVICE_BITS}."
            )
        if network.num_addresses < 16:
            problems.append(
                f"The service range {network} has no room for the addresses that Kubernetes itself takes."
            )
    return problems


def check_machines(
    control_planes: t.Sequence[str],
    workers: t.Sequence[str],
    names: t.Mapping[str, str],
    addresses: t.Mapping[str, str],
) -> Checked:
    """Check who is in the cluster: number of control planes, node names, addresses that two machines have."""
    checked = Checked()
    if not control_planes:
        checked.problems.append(
            "No machine is a control plane of a kubeadm cluster: give one the role control-plane in the "
            "registry, or put it into group control_plane."
        )
    count = len(control_planes)
    if count and count % 2 == 0:
        checked.warnings.append(
            f"{count} control planes: etcd bears no more losses with an even number than with {count - 1}; "
            "an odd number is better."
        )
    members = [*control_planes, *workers]
    for host in members:
        name = names.get(host, host)
        if len(name) > 253 or not _NODE_NAME.fullmatch(name):
            checked.problems.append(
                f"{host} would be node {name!r}, expected lower-case letters, digits, '-' and '.' (a DNS "
                "name)."
            )
    for kind, values in (("node name", {h: names.get(h, h) for h in members}), ("address", addresses)):
        holders: dict[str, list[str]] = {}
        for host in members:
            if values.get(host):
                holders.setdefault(values[host], []).append(host)
        checked.problems += [
            f"{', '.join(hosts)} have the same {kind} {value}."
            for value, hosts in holders.items()
            if len(hosts) > 1
        ]
    return checked
