#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_preflight
short_description: Check what a cluster is to be made of
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Checks what an inventory says of a cluster, its machines, address ranges and versions, against each
    other, and fails with all problems at once. No machine is asked, the work is done on the controller.
  - An even number of control planes, and versions that are not tested together, are only warned of.
extends_documentation_fragment:
  - kubestead.homelab.attributes
  - kubestead.homelab.attributes.reads
options:
  control_planes:
    description: The hosts that are to be control planes; the first one makes the cluster.
    type: list
    elements: str
    required: true
  workers:
    description: The hosts that are to be workers.
    type: list
    elements: str
    default: []
  names:
    description: The node name of each host, where it is not the host's own.
    type: dict
    default: {}
  addresses:
    description: The address of each host. Host names are not looked up.
    type: dict
    default: {}
  pod_subnet:
    description: The range of the pods; one for each address family, with a comma between.
    type: str
    required: true
  service_subnet:
    description: The range of the services, likewise.
    type: str
    required: true
  ranges:
    description: Further ranges that must not overlap with these or hold a machine, by what they are for.
    type: dict
    default: {}
  load_balancer_ranges:
    description: Addresses that services get, as V(10.0.0.64/28) or V(10.0.0.64-10.0.0.79).
    type: list
    elements: str
    default: []
  kubernetes:
    description: The Kubernetes version; empty leaves versions unchecked.
    type: str
    default: ""
  minor:
    description: The Kubernetes minor that was chosen.
    type: str
    default: ""
  minors:
    description: The minors that there are to choose from.
    type: list
    elements: str
    default: []
  runtimes:
    description: The container runtime of each host, V(containerd) or V(crio).
    type: dict
    default: {}
  programs:
    description: The versions of other programs, as far as they are known, by name.
    type: dict
    default: {}
  pod_network:
    description: The pod network, V(flannel), V(calico) or V(cilium).
    type: str
    default: flannel
  further:
    description: Problems that were found elsewhere, to be said with the others.
    type: list
    elements: str
    default: []
  required:
    description: Variables that must not be empty, with their values.
    type: dict
    default: {}
  reasons:
    description: Why each of O(required) is needed.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Can this become a cluster
  kubestead.homelab.cluster_preflight:
    control_planes: [cp-1, cp-2, cp-3]
    workers: [worker-1]
    addresses: {cp-1: 10.0.0.11, cp-2: 10.0.0.12, cp-3: 10.0.0.13, worker-1: 10.0.0.21}
    pod_subnet: 10.244.0.0/16
    service_subnet: 10.96.0.0/12
"""

RETURN = r"""
problems:
  description: All that has to be put right.
  returned: always
  type: list
  elements: str
"""
