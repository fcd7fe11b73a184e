# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine's own name and the names of the others, in /etc/hosts."""

from __future__ import annotations

import ipaddress
import re
from typing import Sequence

BEGIN = "# BEGIN kubestead.homelab: the machines of the registry"
END = "# END kubestead.homelab: the machines of the registry"

_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*")


def name_problem(name: str) -> str:
    """Nothing, or a sentence about what is no host name."""
    if _NAME.fullmatch(name):
        return ""
    return f"{name!r} is no host name, expected lower-case letters, digits, '-' and '.', such as node-1."


def hosts_problems(hosts: Sequence[tuple[str, str]]) -> list[str]:
    """Sentences about pairs of name and address that cannot stand in /etc/hosts."""
    problems = []
    for name, address in hosts:
        problem = name_problem(name)
        if problem:
            problems.append(problem)
        try:
            ipaddress.ip_address(address)
        except ValueError:
            problems.append(f"{name}: {address!r} is no address, expected one such as 10.0.0.11.")
    return problems


def _without_block(text: str) -> tuple[list[str], int]:
    """The lines of others, and where ours stood (the end, where there were none)."""
    lines, place, inside = list[str](), -1, False
    for line in text.splitlines():
        if line == BEGIN:
            inside, place = True, len(lines)
        elif line == END and inside:
            inside = False
        elif not inside:
            lines.append(line)
    return lines, place if place >= 0 else len(lines)


def _renamed(line: str, old: str, new: str) -> str:
    """A line for 127.0.1.1, which Debian keeps for the machine's own name, with the new name."""
    fields = line.split()
    if len(fields) < 2 or fields[0] != "127.0.1.1" or old not in fields:
        return line
    names = [new if name == old else name for name in fields[1:] if not name.startswith(f"{old}.")]
    return f"127.0.1.1\t{' '.join(dict.fromkeys(names))}"


def hosts_text(text: str, hosts: Sequence[tuple[str, str]], old: str = "", new: str = "") -> str:
    """/etc/hosts with our block as it should be; without `hosts` without it. All other lines stay.

    old, new: the machine's own name before and after.
    """
    lines, place = _without_block(text)
    if old and new and old != new:
        lines = [_renamed(line, old, new) for line in lines]
    if hosts:
        lines[place:place] = [BEGIN, *(f"{address} {name}" for name, address in hosts), END]
    return text if lines == text.splitlines() else "".join(f"{line}\n" for line in lines)


def warnings(text: str, hosts: Sequence[tuple[str, str]]) -> list[str]:
    """Sentences about what in /etc/hosts speaks against ours."""
    told = []
    if "manage_etc_hosts" in text:
        told.append(
            "/etc/hosts is written anew by cloud-init at every boot: set manage_etc_hosts: false in "
            "/etc/cloud/cloud.cfg.d/, or the names of the other machines are gone after a reboot."
        )
    wanted = dict(hosts)
    for line in _without_block(text)[0]:
        fields = line.partition("#")[0].split()
        for name in fields[1:]:
            if name in wanted and fields[0] != wanted[name] and not fields[0].startswith(("127.", "::1")):
                told.append(
                    f"/etc/hosts says {fields[0]} for {name} in a line of its own; it has {wanted[name]}."
                )
    return told


def unmanaged_text(header: str, links: Sequence[str]) -> str:
    """A file for NetworkManager that has it leave these links alone."""
    names = ";".join(f"interface-name:{link}" for link in links)
    return f"{header}[keyfile]\nunmanaged-devices={names}\n"
