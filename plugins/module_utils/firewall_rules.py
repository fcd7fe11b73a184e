# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node's rules as nftables, iptables and firewalld read them.

They only ever take away: what they do not name is dropped, what they let through goes on to everybody else's
rules. They are in a table, a chain or a service of their own, and look at what is meant for the machine
itself; what is forwarded to and from pods is the pod network's business.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple, Sequence

from .node_ports import Port, is_ipv6

HEADER = "# Managed by kubestead.homelab: role os_prep\n"
TABLE = "kubestead_node"
CHAIN = "KUBESTEAD-NODE"
SERVICE = "kubestead-node"

# What Cilium hands to its proxy keeps the port that it came to, and has this mark.
CILIUM_MARK, CILIUM_MASK = "0x200", "0xf00"


class Rules(NamedTuple):
    """What may reach a machine."""

    ssh: tuple[int, ...]
    """Ports of SSH: from anywhere, before all else."""
    ports: tuple[Port, ...]
    protocols: tuple[int, ...] = ()
    trusted: tuple[str, ...] = ()
    """Networks that may reach everything: those of pods and services."""
    sources: tuple[str, ...] = ()
    """The networks that `ports` are open to; none for everybody."""
    marked: bool = False
    """Whether what Cilium has marked for its proxy comes in."""


def _of_family(networks: Sequence[str], ipv6: bool) -> list[str]:
    return [network for network in networks if is_ipv6(network) == ipv6]


def _numbers(ports: Sequence[Port], protocol: str) -> list[str]:
    return list(dict.fromkeys(port.number for port in ports if port.protocol == protocol))


def _nft_lines(rules: Rules) -> list[str]:
    lines = [
        "type filter hook input priority filter + 5; policy accept;",
        "ct state established,related accept",
        "ct status dnat accept",
        'iifname "lo" accept',
        f"tcp dport {{ {', '.join(str(port) for port in rules.ssh)} }} accept",
        "meta l4proto { icmp, ipv6-icmp, igmp } accept",
        "udp sport 67 udp dport 68 accept",
        "ip6 saddr fe80::/10 udp dport 546 accept",
    ]
    if rules.protocols:
        lines.append(f"meta l4proto {{ {', '.join(str(number) for number in rules.protocols)} }} accept")
    if rules.marked:
        lines.append(f"meta mark & {CILIUM_MASK} == {CILIUM_MARK} accept")
    for family, ipv6 in (("ip", False), ("ip6", True)):
        trusted = _of_family(rules.trusted, ipv6)
        if trusted:
            lines.append(f"{family} saddr {{ {', '.join(trusted)} }} accept")
    froms = [""] if not rules.sources else []
    for family, ipv6 in (("ip", False), ("ip6", True)):
        sources = _of_family(rules.sources, ipv6)
        froms += [f"{family} saddr {{ {', '.join(sources)} }} "] if sources else []
    for start in froms:
        for protocol in ("tcp", "udp"):
            numbers = _numbers(rules.ports, protocol)
            if numbers:
                lines.append(f"{start}{protocol} dport {{ {', '.join(numbers)} }} accept")
    return [*lines, "counter drop"]


def fingerprint(lines: Sequence[str]) -> str:
    """A short text that stands in the kernel beside the rules, so that it can be seen which they are."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def nft_text(rules: Rules) -> tuple[str, str]:
    """The file for nftables and its fingerprint."""
    lines = _nft_lines(rules)
    mark = fingerprint(lines)
    body = "".join(f"        {line}\n" for line in lines)
    text = (
        f"{HEADER}# A table of its own, replaced in one step; nothing else is touched.\n"
        f"table inet {TABLE}\ndelete table inet {TABLE}\n"
        f'table inet {TABLE} {{\n    comment "{mark}"\n    chain input {{\n{body}    }}\n}}\n'
    )
    return text, mark


def _iptables_lines(rules: Rules, ipv6: bool) -> list[str]:
    lines = ["-m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j RETURN", "-i lo -j RETURN"]
    lines += [f"-p tcp -m tcp --dport {port} -j RETURN" for port in rules.ssh]
    if ipv6:
        lines += ["-p ipv6-icmp -j RETURN", "-s fe80::/10 -p udp -m udp --dport 546 -j RETURN"]
    else:
        lines += ["-p icmp -j RETURN", "-p igmp -j RETURN", "-p udp -m udp --sport 67 --dport 68 -j RETURN"]
    lines += [f"-p {number} -j RETURN" for number in rules.protocols]
    if rules.marked:
        lines.append(f"-m mark --mark {CILIUM_MARK}/{CILIUM_MASK} -j RETURN")
    lines += [f"-s {network} -j RETURN" for network in _of_family(rules.trusted, ipv6)]
    froms = [f"-s {network} " for network in _of_family(rules.sources, ipv6)] if rules.sources else [""]
    for start in froms:
        for protocol in ("tcp", "udp"):
            for number in _numbers(rules.ports, protocol):
                span = number.replace("-", ":")
                lines.append(f"{start}-p {protocol} -m {protocol} --dport {span} -j RETURN")
    return lines


def iptables_text(rules: Rules, ipv6: bool) -> tuple[str, str]:
    """The file for iptables-restore or ip6tables-restore, and its fingerprint."""
    lines = _iptables_lines(rules, ipv6)
    mark = fingerprint(lines)
    lines.append(f"-m comment --comment {mark} -j DROP")
    body = "".join(f"-A {CHAIN} {line}\n" for line in lines)
    text = (
        f"{HEADER}# A chain of its own, replaced in one step; nothing else is touched.\n"
        f"*filter\n:{CHAIN} - [0:0]\n{body}COMMIT\n"
    )
    return text, mark


def firewalld_text(rules: Rules) -> str:
    """The service for firewalld. SSH is in it, so that no other of its settings is needed for it."""
    lines = [f'  <port protocol="tcp" port="{port}"/>' for port in rules.ssh]
    for protocol in ("tcp", "udp"):
        lines += [
            f'  <port protocol="{protocol}" port="{number}"/>' for number in _numbers(rules.ports, protocol)
        ]
    names = {112: "vrrp", 4: "ipip"}
    lines += [f'  <protocol value="{names.get(number, number)}"/>' for number in rules.protocols]
    body = "\n".join(dict.fromkeys(lines))
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<!-- Managed by kubestead.homelab: role os_prep -->\n'
        "<service>\n  <short>Kubestead node</short>\n"
        "  <description>What a node is reached on, by its role and its pod network.</description>\n"
        f"{body}\n</service>\n"
    )


def unit_text(backend: str, folder: str) -> str:
    """The unit that loads the rules at boot, and again when somebody else has thrown them away."""
    if backend == "nftables":
        load = [f"/usr/sbin/nft -f {folder}/node-firewall.nft"]
        unload = [f"-/usr/sbin/nft delete table inet {TABLE}"]
    else:
        load, unload = [], []
        for program, name in (("iptables", "v4"), ("ip6tables", "v6")):
            load += [
                f"/usr/sbin/{program}-restore -w --noflush {folder}/node-firewall.{name}",
                f"-/usr/sbin/{program} -w -D INPUT -j {CHAIN}",
                f"/usr/sbin/{program} -w -I INPUT -j {CHAIN}",
            ]
            unload += [
                f"-/usr/sbin/{program} -w -D INPUT -j {CHAIN}",
                f"-/usr/sbin/{program} -w -F {CHAIN}",
                f"-/usr/sbin/{program} -w -X {CHAIN}",
            ]
    starts = "".join(f"ExecStart={line}\n" for line in load)
    reloads = "".join(f"ExecReload={line}\n" for line in load)
    stops = "".join(f"ExecStop={line}\n" for line in unload)
    return (
        f"{HEADER}[Unit]\nDescription=Kubestead: what may reach this node ({backend})\n"
        "# Whoever loads the other rules may drop ours on the way.\n"
        "After=nftables.service netfilter-persistent.service\n"
        "PartOf=nftables.service netfilter-persistent.service\n"
        "ReloadPropagatedFrom=nftables.service netfilter-persistent.service\n\n"
        f"[Service]\nType=oneshot\nRemainAfterExit=true\n{starts}{reloads}{stops}\n"
        "[Install]\nWantedBy=multi-user.target nftables.service netfilter-persistent.service\n"
    )
