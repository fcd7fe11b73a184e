# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The registry and the machines' last addresses, as the State API has them: one request for each."""

from __future__ import annotations

import ipaddress
import typing as t

from .mac import normalise_mac
from .registry import Registry
from .state_api_client import StateApiClient, StateApiError


class Fetched(t.NamedTuple):
    """The text of the live registry, and what messages call it: that also tells YAML from JSON."""

    text: str
    source: str


def fetch_registry(client: StateApiClient) -> Fetched:
    """The live registry; raises StateApiError, which says why there is none."""
    answer = client.registry()
    path, text = answer["path"], answer["text"]
    if text is not None:
        return Fetched(text, f"{client.url}: {path}")
    if answer["condition"] == "missing":
        raise StateApiError(
            f"{client.url}: there is no registry at {path}. Push one (kubestead registry push FILE), or add "
            "machines (kubestead machines add)"
        )
    raise StateApiError(
        f"{client.url}: shows the registry's text to operators only, and the token in api_token_file may do "
        "no more than read. Name the file of an operator's token (kubestead token create --scope operator)"
    )


def fetch_addresses(client: StateApiClient) -> t.Dict[str, str]:
    """Where each machine was seen last, by MAC. What is no address of one machine is left out."""
    found = {}
    for mac, view in client.machines().items():
        address = usable_address(view.get("address"))
        if address:
            found[normalise_mac(mac)] = address
    return found


def usable_address(text: t.Any) -> t.Optional[str]:
    """An address that Ansible may be sent to, in its normal form, else None: a machine may say anything."""
    try:
        address = ipaddress.ip_address(text if isinstance(text, str) and "%" not in text else "")
    except ValueError:
        return None
    if address.is_loopback or address.is_unspecified or address.is_multicast or address.is_link_local:
        return None
    return str(address)


def lacking_address(registry: Registry) -> t.List[str]:
    """The MACs of the machines for which the registry gives no address."""
    return [machine.mac for machine in registry if not machine.ip]
