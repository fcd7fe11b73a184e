#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kubeadm_join
short_description: Make a machine a worker or a further control plane of a kubeadm cluster
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Decides from the machine's own files and from what the API knows whether it has joined, in one round trip,
    and does what is missing. Nothing when it is a member; starts its kubelet; finishes an interrupted join;
    clears away what one has left that got less far, on this machine only; joins.
  - Without O(configuration) it does all that needs no token, and says in RV(needs_token) whether one is
    needed. So a token is only made when a machine really has to join.
  - A further control plane (O(control_plane)) has joined when its API server is ready and its member of etcd
    has a vote. What has a vote is never cleared away; what an interrupted join left before that is.
  - Fails, in words that say what to type, when the machine belongs to another cluster, when a worker is to be
    a control plane or the other way round, and when a control plane comes back without its data.
  - The configuration with token and certificate key goes to kubeadm in memory; it is never on the disk.
extends_documentation_fragment:
  - kubestead.homelab.attributes
  - kubestead.homelab.attributes.changes
options:
  host:
    description: How the machine is called in messages.
    type: str
    required: true
  node_name:
    description: The name that its node has in the cluster.
    type: str
    required: true
  cluster:
    description: The cluster, as its first control plane sees it.
    type: dict
    required: true
    suboptions:
      ca_pin:
        description: The pin of its authority.
        type: str
        required: true
      nodes:
        description: The nodes that the API knows, each with RV(ignore:name).
        type: list
        elements: dict
        default: []
      etcd:
        description: The members of its etcd; nothing when that stands elsewhere.
        type: list
        elements: dict
  control_plane:
    description: Whether it is to be a control plane.
    type: bool
    default: false
  addresses:
    description: Addresses of a control plane, by which its member of etcd is known.
    type: list
    elements: str
    default: []
  api_port:
    description: The port of the API server on a control plane.
    type: int
    default: 6443
  schedulable:
    description: Whether a control plane also takes ordinary pods.
    type: bool
    default: false
  configuration:
    description: A JoinConfiguration for kubeadm, without token and certificate key.
    type: dict
  token:
    description: The bootstrap token.
    type: str
  token_expires:
    description: When O(token) ends, for RV(kubestead_data).
    type: str
    default: ""
  certificate_key:
    description: For a control plane, the key of the sealed certificates.
    type: str
  files:
    description: For a control plane, what its API server reads beside its certificates, by file name;
      written to C(/etc/kubernetes/api-server), for root only.
    type: dict
    default: {}
  cri_socket:
    description: Where the container runtime listens.
    type: str
    default: unix:///var/run/containerd/containerd.sock
  timeout:
    description: How many seconds one attempt at C(kubeadm join) may take.
    type: int
    default: 240
  attempts:
    description: How often it is tried.
    type: int
    default: 1
  backoff:
    description: After how many seconds it is tried again; doubled each time, up to a minute. What the attempt
      left is cleared away before.
    type: int
    default: 5
  ready_timeout:
    description: How many seconds the kubelet may take to be healthy.
    type: int
    default: 60
notes:
  - The output of kubeadm is in C(/var/log/kubeadm-join.log) on the machine; after a failure
    C(/var/log/kubeadm-join-failure.log) has the kubelet's as well. Both are for root only and hold no token.
seealso:
  - module: kubestead.homelab.kubeadm_facts
"""

EXAMPLES = r"""
- name: Find out whether it has to join
  kubestead.homelab.kubeadm_join:
    host: "{{ inventory_hostname }}"
    node_name: "{{ inventory_hostname }}"
    cluster:
      ca_pin: "{{ cluster.kubeadm.ca_pin }}"
      nodes: "{{ cluster.kubeadm.cluster.nodes }}"
  register: joined
"""

RETURN = r"""
action:
  description: V(nothing), V(start), V(finish), V(join) or V(clean_and_join).
  returned: success
  type: str
  sample: join
reason:
  description: Why.
  returned: success
  type: str
  sample: it has not joined yet
needs_token:
  description: It has to join, and no O(configuration) was given.
  returned: success
  type: bool
kubeadm:
  description: What is true afterwards, see M(kubestead.homelab.kubeadm_facts).
  returned: success
  type: dict
kubestead_data:
  description:
    - What the callback P(kubestead.homelab.state_report#callback) keeps of the machine in the State API. Its
      C(join) says how it has joined, as what, at which endpoint, by which pin of the cluster's authority and
      by which token.
    - Nothing of it is secret. The first part of a token is its public name, C(kubeadm token list) shows it.
  returned: when it has joined
  type: dict
  sample:
    join:
      node: worker-1
      role: worker
      endpoint: 10.0.0.11:6443
      ca_pin: sha256:0f6b…
      token_id: abcdef
      token_expires: "2026-11-21T16:12:35Z"
      joined_at: "2026-11-21T15:57:41Z"
"""

from contextlib import nullcontext

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils.joining import (
    Joiner,
    JoinOptions,
    JoinResult,
    Material,
    join_record,
)
from ansible_collections.kubestead.homelab.plugins.module_utils.kubeadm import (
    BusyError,
    end_late,
    end_processes,
    lock,
    running,
)
from ansible_collections.kubestead.homelab.plugins.module_utils.leftovers import Host
from ansible_collections.kubestead.homelab.plugins.module_utils.node_run import ClusterError

#: How long the join of an earlier run may go on before it is ended.
PATIENCE = 30
#: How long a join that is not ours may go on.
STRANGERS_PATIENCE = 10


def main() -> None:
    """Hold the lock, decide, do."""
    module = AnsibleModule(
        argument_spec={
            "host": {"type": "str", "required": True},
            "node_name": {"type": "str", "required": True},
            "cluster": {
                "type": "dict",
                "required": True,
                "options": {
                    "ca_pin": {"type": "str", "required": True},
                    "nodes": {"type": "list", "elements": "dict", "default": []},
                    "etcd": {"type": "list", "elements": "dict"},
                },
            },
            "control_plane": {"type": "bool", "default": False},
            "addresses": {"type": "list", "elements": "str", "default": []},
            "api_port": {"type": "int", "default": 6443},
            "schedulable": {"type": "bool", "default": False},
            "configuration": {"type": "dict"},
            "token": {"type": "str", "no_log": True},
            "token_expires": {"type": "str", "default": "", "no_log": False},
            "certificate_key": {"type": "str", "no_log": True},
            "files": {"type": "dict", "default": {}, "no_log": True},
            "cri_socket": {"type": "str", "default": "unix:///var/run/containerd/containerd.sock"},
            "timeout": {"type": "int", "default": 240},
            "attempts": {"type": "int", "default": 1},
            "backoff": {"type": "int", "default": 5},
            "ready_timeout": {"type": "int", "default": 60},
        },
        required_together=[("configuration", "token")],
        supports_check_mode=True,
    )
    given = module.params
    options = JoinOptions(
        host=given["host"],
        node_name=given["node_name"],
        cluster=given["cluster"],
        configuration=given["configuration"],
        material=Material(given["token"] or "", given["certificate_key"] or "", given["files"]),
        control_plane=given["control_plane"],
        addresses=given["addresses"],
        port=given["api_port"],
        schedulable=given["schedulable"],
        timeout=given["timeout"],
        attempts=given["attempts"],
        backoff=given["backoff"],
        ready_timeout=given["ready_timeout"],
    )

    def join(wait: float) -> JoinResult:
        with nullcontext() if module.check_mode else lock(wait) as held:
            if options.configuration is not None and not module.check_mode:
                # Not one of ours, which has the lock: somebody has begun it by hand.
                end_late(["kubeadm", "join"], STRANGERS_PATIENCE)
            return Joiner(options, Host(cri_socket=given["cri_socket"]), held).run(module.check_mode)

    try:
        try:
            result = join(PATIENCE)
        except BusyError:
            end_processes(running(["kubeadm", "join"]))
            result = join(5)
    except (ClusterError, BusyError) as error:
        module.fail_json(msg=str(error))
    record = result.joined_at and join_record(options, given["token_expires"], result.joined_at)
    module.exit_json(
        changed=result.changed,
        action=result.action,
        reason=result.reason,
        needs_token=result.needs_token,
        kubeadm=result.node.as_dict(),
        **({"kubestead_data": {"join": record}} if record else {}),
    )


if __name__ == "__main__":
    main()
