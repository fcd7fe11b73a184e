# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machines that a DHCP server knows, as the file that its configuration includes.

The role pxe_server writes it, and so does the service that follows the live registry (kubestead.dhcp).
"""

from __future__ import annotations

import json
import typing as t

Reservation = t.Mapping[str, str]
_MANAGED = "Managed by kubestead.homelab: role pxe_server"


def reservations(kind: str, machines: t.Sequence[Reservation]) -> str:
    """The file for machines with `mac`, `hostname` and `ip`, of which the last two may be empty."""
    known = [one for one in machines if one["ip"] or one["hostname"]]
    if kind == "dnsmasq":
        lines = [",".join(filter(None, (one["mac"], one["ip"], one["hostname"]))) for one in known]
        return "\n".join([f"# {_MANAGED}", *lines, ""])
    if kind == "kea":
        return f"// {_MANAGED}\n[\n" + ",\n".join(f"  {_for_kea(one)}" for one in known) + "\n]\n"
    if kind == "isc":
        return f"# {_MANAGED}\n" + "".join(map(_for_isc, known))
    return ""


def inline(kind: str, text: str) -> str:
    """The same in the place of the line that includes it, so that the server's own program can check it."""
    if kind != "dnsmasq":
        return text.partition("\n")[2]
    return "".join(f"dhcp-host={line}\n" for line in text.splitlines() if not line.startswith("#"))


def _for_kea(one: Reservation) -> str:
    keys = (("hw-address", "mac"), ("ip-address", "ip"), ("hostname", "hostname"))
    return json.dumps({name: one[key] for name, key in keys if one[key]})


def _for_isc(one: Reservation) -> str:
    lines = [f"host {one['mac'].replace(':', '-')} {{", f"  hardware ethernet {one['mac']};"]
    if one["ip"]:
        lines.append(f"  fixed-address {one['ip']};")
    if one["hostname"]:
        lines.append(f'  option host-name "{one["hostname"]}";')
    return "\n".join([*lines, "}", ""])
