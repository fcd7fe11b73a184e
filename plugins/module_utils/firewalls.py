# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who filters on a machine already, by which ports SSH comes in, and what listens."""

from __future__ import annotations

import os
import re
import typing as t
from pathlib import Path

from .host import read_text
from .programs import Runner

UNIT = "kubestead-firewall.service"
UNIT_FILE = f"etc/systemd/system/{UNIT}"
OWN_CHAINS = ("KUBESTEAD", "kubestead")

_HOOK = re.compile(r"type filter hook input priority [^;]+; policy (accept|drop);")


def _drops_input(listing: str) -> bool:
    """Whether a base chain of others drops what it does not know, from `nft list chains`."""
    table = ""
    for line in listing.splitlines():
        if line.startswith("table "):
            table = line
        match = _HOOK.search(line)
        if match and match.group(1) == "drop" and not any(own in table for own in OWN_CHAINS):
            return True
    return False


def active(run: Runner, root: Path = Path("/")) -> list[str]:
    """The firewalls in force: firewalld, ufw, nftables (a chain that drops), iptables; ours: kubestead."""
    found = []
    if (root / "run/firewalld").is_dir() and run(["systemctl", "is-active", "firewalld.service"])[0] == 0:
        found.append("firewalld")
    if re.search(r"(?m)^ENABLED=yes", read_text(root / "etc/ufw/ufw.conf") or ""):
        found.append("ufw")
    elif "firewalld" not in found:
        code, listing, _err = run(["nft", "list", "chains"])
        if code == 0 and _drops_input(listing):
            found.append("nftables")
        elif code != 0 and run(["iptables", "-w", "-S", "INPUT"])[1].startswith("-P INPUT DROP"):
            found.append("iptables")
    if (root / UNIT_FILE).exists() or (root / "etc/firewalld/services/kubestead-node.xml").exists():
        found.append("kubestead")
    return found


def _ancestors_connection() -> list[int]:
    """The port that this very connection came in by, from the environment of the processes above."""
    process = os.getppid()
    while process > 1:
        try:
            words = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
            stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return []
        for word in words:
            if word.startswith(b"SSH_CONNECTION="):
                return [int(word.split()[-1])] if word.split()[-1].isdigit() else []
        process = int(stat.rpartition(")")[2].split()[1])
    return []


def ssh_ports(run: Runner, more: t.Iterable[int] = ()) -> list[int]:
    """Every port that SSH may be reached on: the usual one, its settings', this connection's own."""
    _code, settings, _err = run(["sshd", "-T"])
    _code, sockets, _err = run(["systemctl", "show", "ssh.socket", "sshd.socket", "--property=Listen"])
    ports = {22, *more, *_ancestors_connection()}
    ports.update(int(number) for number in re.findall(r"(?m)^port (\d+)$", settings))
    ports.update(int(number) for number in re.findall(r"(?m)^Listen=\S*:(\d+) \(Stream\)$", sockets))
    return sorted(ports)


def _local_only(address: str) -> bool:
    """Whether an address of /proc/net/tcp is one of the machine to itself."""
    if len(address) == 8:
        return address.endswith("7F")
    return address == "00000000000000000000000001000000" or address.endswith("FFFF00000100007F")


def listening(root: Path = Path("/")) -> list[tuple[int, str]]:
    """TCP ports that anybody may connect to now, and the programs behind them ("" for the kernel's own)."""
    inodes: dict[str, int] = {}
    for name in ("tcp", "tcp6"):
        for line in (read_text(root / f"proc/net/{name}") or "").splitlines()[1:]:
            fields = line.split()
            address, _colon, port = fields[1].partition(":")
            if fields[3] == "0A" and not _local_only(address):
                inodes[fields[9]] = int(port, 16)
    programs: dict[int, str] = dict.fromkeys(inodes.values(), "")
    for handle in (root / "proc").glob("[0-9]*/fd/*"):
        try:
            target = os.readlink(handle)
        except OSError:
            continue
        if target.startswith("socket:[") and target[8:-1] in inodes:
            programs[inodes[target[8:-1]]] = (read_text(handle.parents[1] / "comm") or "").strip()
    return sorted(programs.items())
