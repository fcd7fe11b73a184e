#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kubeadm_token
short_description: Make what one machine needs to join a kubeadm cluster, and end it afterwards
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Run it on a control plane that answers. V(present) makes a token that soon ends, and for a further control
    plane also a fresh certificate key, with which kubeadm seals the cluster's certificates in the cluster.
  - V(absent) deletes the token, and the sealed certificates with it.
  - What is returned is secret. Set C(no_log) on the task.
extends_documentation_fragment:
  - kubestead.homelab.attributes
  - kubestead.homelab.attributes.changes
options:
  state:
    description: Whether to make it or to end it.
    type: str
    choices: [present, absent]
    default: present
  host:
    description: How the control plane is called in messages.
    type: str
    required: true
  control_plane:
    description: Whether it is for a further control plane.
    type: bool
    default: false
  ttl:
    description: How long the token lasts, such as V(15m) or V(1h30m).
    type: str
    default: 15m
  description:
    description: What the token is for; shown by C(kubeadm token list).
    type: str
    default: kubestead
  token_id:
    description: For V(absent), the part of the token before the dot.
    type: str
    default: ""
  api_port:
    description: The port of the API server on this machine.
    type: int
    default: 6443
  cri_socket:
    description: Where the container runtime listens.
    type: str
    default: unix:///var/run/containerd/containerd.sock
seealso:
  - module: kubestead.homelab.kubeadm_join
"""

EXAMPLES = r"""
- name: Make what cp-2 needs to join
  kubestead.homelab.kubeadm_token:
    host: "{{ inventory_hostname }}"
    control_plane: true
    description: cp-2 joins
  register: made
  no_log: true

- name: End it
  kubestead.homelab.kubeadm_token:
    state: absent
    host: "{{ inventory_hostname }}"
    control_plane: true
    token_id: "{{ made.token.split('.') | first }}"
  no_log: true
"""

RETURN = r"""
token:
  description: The token.
  returned: when O(state=present)
  type: str
expires:
  description: When the token ends, if it is not deleted before (RFC 3339); empty in check mode.
  returned: when O(state=present)
  type: str
  sample: "2026-11-21T16:12:35Z"
certificate_key:
  description: The key of the sealed certificates, empty for a worker.
  returned: when O(state=present)
  type: str
files:
  description: What the API server reads here beside its certificates, by file name; empty for a worker.
  returned: when O(state=present)
  type: dict
"""

from contextlib import nullcontext

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils.join_material import (
    Material,
    MaterialOptions,
    parse_lifetime,
)
from ansible_collections.kubestead.homelab.plugins.module_utils.kubeadm import BusyError, lock
from ansible_collections.kubestead.homelab.plugins.module_utils.leftovers import Host
from ansible_collections.kubestead.homelab.plugins.module_utils.node_run import ClusterError


def main() -> None:
    """Make it, or end it."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "host": {"type": "str", "required": True},
            "control_plane": {"type": "bool", "default": False},
            "ttl": {"type": "str", "default": "15m"},
            "description": {"type": "str", "default": "kubestead"},
            "token_id": {"type": "str", "default": "", "no_log": False},
            "api_port": {"type": "int", "default": 6443},
            "cri_socket": {"type": "str", "default": "unix:///var/run/containerd/containerd.sock"},
        },
        supports_check_mode=True,
    )
    given = module.params
    present = given["state"] == "present"
    try:
        lifetime = parse_lifetime(given["ttl"])
    except ValueError as error:
        module.fail_json(msg=f"ttl is {error}")
    if module.check_mode:
        made = {"token": "", "expires": "", "certificate_key": "", "files": {}} if present else {}
        module.exit_json(changed=True, **made)
    options = MaterialOptions(
        host=given["host"],
        lifetime=lifetime,
        description=given["description"],
        control_plane=given["control_plane"],
        port=given["api_port"],
        cri_socket=given["cri_socket"],
    )
    try:
        with lock(60) if given["control_plane"] and present else nullcontext() as held:
            material = Material(options, Host(cri_socket=given["cri_socket"]), held)
            if present:
                module.exit_json(changed=True, **material.make())
            module.exit_json(changed=material.end(given["token_id"]))
    except (ClusterError, BusyError) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
