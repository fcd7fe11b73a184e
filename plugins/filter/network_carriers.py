# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter network_carriers: how a machine's pod network carries packets."""

from __future__ import annotations

DOCUMENTATION = r"""
name: network_carriers
short_description: How a machine's pod network carries packets
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Reads it from the variables of role P(kubestead.homelab.cni#role), with that role's defaults, for option
    O(kubestead.homelab.node_firewall#module:carriers).
positional: _input
options:
  _input:
    description: The machine's variables (C(hostvars)).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: How packets are carried
  ansible.builtin.debug:
    msg: "{{ hostvars[inventory_hostname] | kubestead.homelab.network_carriers }}"
"""

RETURN = r"""
_value:
  description: Of V(vxlan), V(wireguard), V(host-gw), V(udp), V(bgp), V(ipip).
  type: list
  elements: str
"""

import typing as t

FALSE = ("false", "no", "off", "0", "")


def _is(value: t.Any) -> bool:
    return str(value).lower() not in FALSE


def network_carriers(variables: t.Mapping[str, t.Any]) -> list[str]:
    """How packets go from node to node."""
    plugin = variables.get("cni_plugin", "flannel")
    if plugin == "flannel":
        backend: t.Mapping[str, t.Any] = variables.get("cni_flannel_backend") or {}
        return [str(backend.get("Type", "vxlan")).lower()]
    if plugin == "cilium":
        return ["wireguard"] if _is(variables.get("cni_cilium_wireguard", True)) else []
    if plugin != "calico":
        return []
    how = str(variables.get("cni_calico_encapsulation", "VXLAN")).upper()
    tunnels = [name for name in ("vxlan", "ipip") if how.startswith(name.upper())]
    bgp = _is(variables.get("cni_calico_bgp", "vxlan" not in tunnels))
    return tunnels + (["bgp"] if bgp else [])


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """The filters of this file."""
        return {"network_carriers": network_carriers}
