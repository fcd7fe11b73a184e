# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a PXE server serves: its settings, completed from the machine's facts and checked as a whole."""

from __future__ import annotations

import ipaddress
import re
import typing as t

from .mac import is_group_address, normalise_mac
from .pxe_reservations import inline, reservations

KINDS = ("dnsmasq", "kea", "isc", "proxy", "none")
#: Those that hand out addresses.
LEASING = ("dnsmasq", "kea", "isc")
_NAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(?:\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*")
_INTERFACE = re.compile(r"[A-Za-z0-9_.-]{1,15}")

Settings = t.Mapping[str, t.Any]
Address = ipaddress.IPv4Address
Network = ipaddress.IPv4Network


class _Plan:
    """Reads one setting after the other and gathers what is wrong."""

    def __init__(self, settings: Settings, facts: Settings) -> None:
        self.settings = settings
        self.facts = facts
        self.problems: list[str] = []

    def wrong(self, name: str, value: t.Any, expected: str) -> None:
        """Note a problem."""
        self.problems.append(f"pxe_server_{name} is {value!r}, expected {expected}.")

    def address(self, name: str, value: t.Any) -> Address | None:
        """An IPv4 address; None if there is none, or it is not one."""
        if not value:
            return None
        try:
            return ipaddress.IPv4Address(str(value))
        except ValueError:
            self.wrong(name, str(value), "an IPv4 address")
            return None

    def own(self) -> list[tuple[str, ipaddress.IPv4Interface]]:
        """The machine's interfaces with their addresses."""
        found = []
        for name in self.facts.get("interfaces", []):
            known = self.facts.get(re.sub(r"[^A-Za-z0-9_]", "_", name), {})
            for entry in [known.get("ipv4"), *known.get("ipv4_secondaries", [])]:
                if entry and entry.get("address") and entry.get("netmask"):
                    text = f"{entry['address']}/{entry['netmask']}"
                    found.append((str(name), ipaddress.IPv4Interface(text)))
        return found

    def place(self) -> tuple[str, Address | None, Network | None]:
        """Interface, address and network; what is not set is taken from the machine."""
        own = self.own()
        there = ", ".join(f"{one.ip} on {name}" for name, one in own) or "none is known"
        given = self.settings.get("address")
        address = self.address("address", given)
        interface = str(self.settings.get("interface") or "")
        if not given:
            default = self.facts.get("default_ipv4", {})
            chosen = [str(one.ip) for name, one in own if name == interface]
            address = self.address(
                "address", chosen[0] if chosen else (not interface and default.get("address"))
            )
            if address is None:
                self.wrong("address", "", f"one of this machine's addresses ({there})")
        holders = [(name, one) for name, one in own if one.ip == address]
        if address is not None and given and not holders:
            self.wrong("address", str(address), f"one of this machine's addresses ({there})")
        if not interface:
            interface = holders[0][0] if holders else ""
        elif not _INTERFACE.fullmatch(interface) or interface not in self.facts.get("interfaces", []):
            names = ", ".join(sorted(set(self.facts.get("interfaces", [])) - {"lo"}))
            self.wrong("interface", interface, f"one of this machine's interfaces ({names})")
        elif holders and interface not in [name for name, _one in holders]:
            self.wrong("interface", interface, f"{holders[0][0]}, which has the address {address}")
        network = self.network(address, holders)
        return interface, address, network

    def network(
        self, address: Address | None, holders: list[tuple[str, ipaddress.IPv4Interface]]
    ) -> Network | None:
        """The network that is served."""
        given = self.settings.get("network")
        if not given:
            return holders[0][1].network if holders else None
        try:
            network = ipaddress.IPv4Network(str(given))
        except ValueError as error:
            self.wrong("network", given, f"a network such as 10.0.0.0/24 ({error})")
            return None
        if address is not None and address not in network:
            self.wrong("network", str(network), f"one that has the server's address {address} in it")
        return network

    def host_address(self, name: str, value: t.Any, network: Network | None) -> Address | None:
        """An address that a machine of the network can have."""
        address = self.address(name, value)
        if address is not None and network is not None:
            if address not in network:
                self.wrong(name, str(address), f"an address in {network}")
            elif network.prefixlen < 31 and address in (network.network_address, network.broadcast_address):
                self.wrong(name, str(address), f"an address of {network} that a machine can have")
        return address

    def router(self, network: Network | None) -> Address | None:
        """The router; if it is not set, the machine's own where that is in the network."""
        given = self.settings.get("router")
        if given:
            return self.host_address("router", given, network)
        own = self.facts.get("default_ipv4", {}).get("gateway")
        if not own or network is None:
            return None
        address = ipaddress.IPv4Address(own)
        return address if address in network else None

    def range(self, network: Network | None) -> tuple[Address, Address] | None:
        """First and last address for unknown machines."""
        given = self.settings.get("range") or []
        if not given:
            return None
        if not isinstance(given, (list, tuple)) or len(given) != 2:
            self.wrong("range", given, "the first and the last address, such as [10.0.0.200, 10.0.0.209]")
            return None
        first, last = (self.host_address("range", each, network) for each in given)
        if first is None or last is None:
            return None
        if first > last:
            self.wrong("range", [str(first), str(last)], "the lower address first")
            return None
        return first, last

    def machines(self, network: Network | None) -> list[dict[str, str]]:
        """The reservations, sorted, with MACs in one form."""
        found: list[dict[str, str]] = []
        for entry in self.settings.get("machines") or []:
            given = entry if isinstance(entry, dict) else {}
            name = f"machines: {given.get('hostname') or given.get('mac') or entry}"
            try:
                mac = normalise_mac(str(given.get("mac", "")))
            except ValueError as error:
                self.problems.append(f"pxe_server_{name}: {error}.")
                continue
            if is_group_address(mac):
                self.problems.append(f"pxe_server_{name}: {mac} is a group's address, which no card has.")
            hostname = str(given.get("hostname") or "")
            if hostname and not _NAME.fullmatch(hostname):
                self.wrong(name, hostname, "a host name of letters, digits and '-'")
            address = self.host_address(name, given.get("ip"), network)
            found.append({"mac": mac, "hostname": hostname, "ip": str(address or "")})
        for key, word in (("mac", "MAC"), ("ip", "address"), ("hostname", "host name")):
            holders: dict[str, list[str]] = {}
            for one in found:
                if one[key]:
                    holders.setdefault(one[key].lower(), []).append(one["hostname"] or one["mac"])
            self.problems += [
                f"pxe_server_machines: {' and '.join(names)} have the same {word} {value}."
                for value, names in sorted(holders.items())
                if len(names) > 1
            ]
        return sorted(found, key=lambda one: one["mac"])

    def overlaps(
        self,
        taken: tuple[Address, Address] | None,
        machines: list[dict[str, str]],
        others: t.Mapping[str, Address | None],
    ) -> None:
        """Nothing that has an address of its own may be in the range; no two may have one address."""
        owners = [
            (one["hostname"] or one["mac"], ipaddress.IPv4Address(one["ip"])) for one in machines if one["ip"]
        ]
        fixed = [(name, address) for name, address in others.items() if address is not None]
        for name, address in owners:
            self.problems += [
                f"pxe_server_machines: {name} has the address {address}, which is the {other}'s."
                for other, own in fixed
                if own == address
            ]
        if taken is not None:
            self.problems += [
                f"pxe_server_range {taken[0]} to {taken[1]} has {address} of {name} in it; "
                "it is for unknown machines alone."
                for name, address in [*owners, *((f"the {other}", own) for other, own in fixed)]
                if taken[0] <= address <= taken[1]
            ]

    def whole(self) -> dict[str, t.Any]:
        """All of it."""
        kind = str(self.settings.get("dhcp") or "none")
        if kind not in KINDS:
            self.wrong("dhcp", kind, f"one of {', '.join(KINDS)}")
        interface, address, network = self.place()
        router = self.router(network)
        taken = self.range(network)
        machines = self.machines(network if kind in LEASING else None)
        if kind in LEASING:
            self.overlaps(taken, machines, {"server": address, "router": router})
            if taken is None and not machines and not self.settings.get("range"):
                self.wrong("range", [], "a range for unknown machines, or pxe_server_machines")
        dns = [self.address("dns", each) for each in self.settings.get("dns") or []] or [router]
        domain = str(self.settings.get("domain") or "")
        if domain and not _NAME.fullmatch(domain):
            self.wrong("domain", domain, "a domain such as home.arpa")
        lease = self.settings.get("lease_time", 0)
        if not str(lease).isdigit() or not 120 <= int(lease) <= 31536000:
            self.wrong("lease_time", lease, "seconds, from 120 to 31536000")
        known = reservations(kind, machines)
        return {
            "dhcp": kind,
            "interface": interface,
            "address": str(address or ""),
            "network": str(network or ""),
            "network_address": str(network.network_address) if network else "",
            "netmask": str(network.netmask) if network else "",
            "router": str(router or ""),
            "first": str(taken[0]) if taken else "",
            "last": str(taken[1]) if taken else "",
            "dns": [str(each) for each in dns if each],
            "domain": domain,
            "lease_time": int(lease) if str(lease).isdigit() else 0,
            "machines": machines,
            "reservations": known,
            "reservations_inline": inline(kind, known),
            "problems": self.problems,
        }


def pxe_server_plan(settings: Settings, facts: Settings) -> dict[str, t.Any]:
    """The settings in one form, with all that is wrong with them."""
    return _Plan(settings, facts).whole()


def pxe_live_machines(
    plan: Settings, machines: t.Iterable[Settings]
) -> tuple[list[dict[str, str]], list[str]]:
    """Machines of the live registry under a plan that is in force: the reservations, and what is wrong."""
    reader = _Plan({"machines": machines}, {})
    found = reader.machines(Network(plan["network"]))
    taken = (Address(plan["first"]), Address(plan["last"])) if plan["first"] else None
    router = Address(plan["router"]) if plan["router"] else None
    reader.overlaps(taken, found, {"server": Address(plan["address"]), "router": router})
    return found, [problem.replace("pxe_server_machines: ", "") for problem in reader.problems]


def pxe_server_machines(records: t.Iterable[Settings]) -> list[dict[str, t.Any]]:
    """Machines of the inventory, by their registry entries, as reservations."""
    return [
        {"mac": record["mac"], "hostname": record.get("hostname", ""), "ip": record.get("ip", "")}
        for record in records
        if record.get("mac")
    ]
