#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kubeadm_facts
short_description: What is true on a node of a kubeadm cluster
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Finds out in one round trip what a node is, from its files, its services, its API server and, where it has
    credentials for it, from its cluster's API.
  - Nothing is set as a fact. Register the result; RV(kubeadm) has it all. No secret is in it.
  - Works on a machine that has never seen Kubernetes.
extends_documentation_fragment:
  - kubestead.homelab.attributes
  - kubestead.homelab.attributes.reads
options:
  api_port:
    description: The port of the API server on this node.
    type: int
    default: 6443
"""

EXAMPLES = r"""
- name: Ask what is there
  kubestead.homelab.kubeadm_facts:
  register: node

- name: Show what it is
  ansible.builtin.debug:
    msg: "{{ node.kubeadm.state }}, authority {{ node.kubeadm.ca_pin }}"
"""

RETURN = r"""
kubeadm:
  description: All that was found.
  returned: always
  type: dict
  contains:
    state:
      description: V(none), V(control_plane), V(worker), or V(partial) for anything between.
      type: str
      sample: control_plane
    name:
      description: The name that the node has in its cluster, from the kubelet's certificate.
      type: str
      sample: lab-cp-1
    files:
      description: The kubeconfigs in C(/etc/kubernetes).
      type: list
      elements: str
      sample: [admin.conf, kubelet.conf]
    manifests:
      description: The static pods.
      type: list
      elements: str
      sample: [etcd.yaml, kube-apiserver.yaml]
    certificates:
      description: The files below C(/etc/kubernetes/pki), by name.
      type: list
      elements: str
    etcd_data:
      description: Whether etcd has data here.
      type: bool
    kubelet_config:
      description: Whether the kubelet has been configured.
      type: bool
    kubelet:
      description: Its service (RV(ignore:installed), RV(ignore:active) as systemd says) and its health check.
      type: dict
      sample: {installed: true, active: active, healthy: true}
    kubeadm_version:
      description: The version of kubeadm, empty where there is none.
      type: str
      sample: 1.36.4
    api:
      description: Status of C(/livez), C(/readyz) and C(/healthz) of the API server on this node; 0 without
        an answer.
      type: dict
      sample: {livez: 200, readyz: 200, healthz: 200}
    api_problem:
      description: What was wrong with it.
      type: str
    ca_pin:
      description: The pin of the authority in C(/etc/kubernetes/pki/ca.crt), as C(kubeadm join) takes it.
      type: str
      sample: sha256:0d5e…
    kubelet_ca_pin:
      description: The pin of the authority that C(kubelet.conf) trusts.
      type: str
    endpoint:
      description: The API server that C(kubelet.conf) names.
      type: str
      sample: https://10.77.0.11:6443
    cluster_endpoint:
      description: The API server that C(admin.conf) names; all but this control plane reach the API there.
      type: str
      sample: https://10.77.0.100:6443
    api_certificate_expiry:
      description: When the API server's certificate ends.
      type: str
    api_certificate_days:
      description: How many days that is from now.
      type: int
    certificate_ends:
      description: When each certificate of this node ends, by file; those in kubeconfigs as well.
      type: dict
      sample: {admin.conf: "2027-11-21T12:00:00+00:00"}
    member:
      description: Whether its cluster knows this node, asked with the kubelet's certificate; none when it did
        not answer.
      type: bool
    member_problem:
      description: Why it did not answer.
      type: str
    initialisation:
      description: V(begun) or V(done) when kubestead.homelab.kubeadm_init made this control plane.
      type: str
    kept:
      description: Certificates that were there before that.
      type: list
      elements: str
    joining:
      description: V(begun) or V(done) when kubestead.homelab.kubeadm_join made this control plane.
      type: str
    cluster:
      description: What the API server here says to C(admin.conf); whether it RV(ignore:answers), its
        RV(ignore:nodes), and the members of its RV(ignore:etcd) where that stands on the control planes.
      type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils.node_state import probe


def main() -> None:
    """Ask once and return it."""
    module = AnsibleModule(
        argument_spec={"api_port": {"type": "int", "default": 6443}},
        supports_check_mode=True,
    )
    module.exit_json(changed=False, kubeadm=probe(port=module.params["api_port"]).as_dict())


if __name__ == "__main__":
    main()
