#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: node_firewall
short_description: What may reach a node
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Knows the ports that a node is reached on, by its role and its pod network, and tells them.
  - With V(nftables) or V(iptables) everything else that is meant for the machine itself is dropped, by a
    table or a chain of our own. Other people's rules are neither read nor changed, and what is forwarded is
    left alone.
  - With V(firewalld) the ports are opened by a service of our own. Nothing that was open is closed.
  - SSH is never cut off. Its ports are taken from the server's settings and from the connection that this
    module came by. New rules are taken away again after O(undo_after) seconds unless they are confirmed, by a
    second call with O(confirm) that comes in by a new connection.
extends_documentation_fragment:
  - kubestead.homelab.attributes
  - kubestead.homelab.attributes.changes
options:
  backend:
    description: >-
      V(auto) opens the ports in a firewalld that runs, and filters nothing otherwise. V(none) takes away what
      an earlier call has made.
    type: str
    choices: [auto, none, nftables, iptables, firewalld]
    default: auto
  role:
    description: What the machine is in the cluster.
    type: str
    choices: [control_plane, worker, none]
    required: true
  network:
    description: The pod network.
    type: str
    choices: [flannel, calico, cilium, none]
    default: flannel
  carriers:
    description: How it carries packets, of V(vxlan), V(wireguard), V(host-gw), V(udp), V(geneve), V(bgp) and
      V(ipip), as far as the pod network can.
    type: list
    elements: str
    default: []
  api_ports:
    description: Where the Kubernetes API is reached on a control plane.
    type: list
    elements: int
    default: [6443]
  extra_ports:
    description: Further ports, such as V(9100/tcp) or V(6881-6889/udp).
    type: list
    elements: str
    default: []
  ssh_ports:
    description: Ports of SSH beside those that are found.
    type: list
    elements: int
    default: []
  trusted_networks:
    description: Networks that may reach everything, those of pods and services.
    type: list
    elements: str
    default: []
  sources:
    description: The networks that the ports are open to. Empty for everybody.
    type: list
    elements: str
    default: []
  zone:
    description: The zone of firewalld. Empty for the one of the link by which the machine reaches others.
    type: str
    default: ""
  undo_after:
    description: After how many seconds new rules are taken away unless they are confirmed.
    type: int
    default: 60
  confirm:
    description: The new rules stay. The caller has come in by a new connection.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: What reaches this worker
  kubestead.homelab.node_firewall:
    backend: nftables
    role: worker
    trusted_networks: [10.244.0.0/16, 10.96.0.0/12]
  register: firewall

- name: Come in anew
  ansible.builtin.meta: reset_connection

- name: The way in is still open, so the rules stay
  kubestead.homelab.node_firewall:
    backend: nftables
    role: worker
    confirm: true
  when: firewall.unconfirmed
"""

RETURN = r"""
backend:
  description: Who filters, V(none) where nobody does.
  returned: always
  type: str
ports:
  description: The ports that the machine is reached on, and why.
  returned: always
  type: list
  elements: str
  sample: ["10250/tcp (kubelet)"]
closed:
  description: Ports on which something listens that is not among them, so that it cannot be reached any more.
  returned: always
  type: list
  elements: str
  sample: ["2049/tcp", "9090/tcp (prometheus)"]
unconfirmed:
  description: Whether new rules are in force that will be taken away again.
  returned: always
  type: bool
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils import firewalls, node_ports
from ansible_collections.kubestead.homelab.plugins.module_utils.converging import Converging
from ansible_collections.kubestead.homelab.plugins.module_utils.firewall_rules import Rules
from ansible_collections.kubestead.homelab.plugins.module_utils.node_firewall import (
    Firewall,
    FirewallError,
)
from ansible_collections.kubestead.homelab.plugins.module_utils.programs import run_program


def wanted(module: AnsibleModule) -> "tuple[list[node_ports.Port], Rules]":
    """The ports for a person, and all that may come in."""
    given = module.params
    extra, problems = node_ports.parse_extra(given["extra_ports"])
    trusted, more = node_ports.parse_networks(given["trusted_networks"])
    sources, others = node_ports.parse_networks(given["sources"])
    problems += more + others
    if problems:
        module.fail_json(msg="\n".join([*problems, "Nothing was changed."]))
    ports = node_ports.needed(given["role"], given["network"], given["carriers"], given["api_ports"]) + extra
    rules = Rules(
        ssh=tuple(firewalls.ssh_ports(run_program, given["ssh_ports"])),
        ports=tuple(ports),
        protocols=tuple(node_ports.protocols(given["role"], given["carriers"])),
        trusted=tuple(trusted),
        sources=tuple(sources),
        marked=given["network"] == "cilium",
    )
    return ports, rules


def cut_off(rules: Rules) -> "list[str]":
    """What listens now and is not named in the rules."""
    return [
        f"{number}/tcp ({program})" if program else f"{number}/tcp"
        for number, program in firewalls.listening()
        if number not in rules.ssh and not node_ports.covers(rules.ports, number, "tcp")
    ]


def main() -> None:
    """Converge, or confirm what was done before."""
    module = AnsibleModule(
        argument_spec={
            "backend": {
                "type": "str",
                "choices": ["auto", "none", "nftables", "iptables", "firewalld"],
                "default": "auto",
            },
            "role": {"type": "str", "choices": ["control_plane", "worker", "none"], "required": True},
            "network": {
                "type": "str",
                "choices": ["flannel", "calico", "cilium", "none"],
                "default": "flannel",
            },
            "carriers": {"type": "list", "elements": "str", "default": []},
            "api_ports": {"type": "list", "elements": "int", "default": [6443]},
            "extra_ports": {"type": "list", "elements": "str", "default": []},
            "ssh_ports": {"type": "list", "elements": "int", "default": []},
            "trusted_networks": {"type": "list", "elements": "str", "default": []},
            "sources": {"type": "list", "elements": "str", "default": []},
            "zone": {"type": "str", "default": ""},
            "undo_after": {"type": "int", "default": 60},
            "confirm": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    given = module.params
    ports, rules = wanted(module)
    backend = given["backend"]
    if backend == "auto":
        backend = "firewalld" if "firewalld" in firewalls.active(run_program) else "none"
    to = Converging(module)
    firewall = Firewall(to, run_program, given["undo_after"])
    try:
        if given["confirm"]:
            firewall.confirm(backend)
        elif backend == "none":
            firewall.own_gone()
            firewall.firewalld_gone()
        elif backend == "firewalld":
            firewall.firewalld(rules, given["zone"])
        else:
            firewall.own(backend, rules)
    except FirewallError as error:
        module.fail_json(msg=str(error), **to.result())
    filtered = backend in ("nftables", "iptables")
    result: dict[str, Any] = to.result()
    module.exit_json(
        backend=backend,
        ports=[f"{port} ({port.why})" for port in ports],
        closed=cut_off(rules) if filtered else [],
        unconfirmed=firewall.armed,
        **result,
    )


if __name__ == "__main__":
    main()
