#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: pod_network_info
short_description: Which pod network a cluster has
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Run it on a control plane; it asks the API with C(admin.conf) for what flannel, Calico, Cilium and
    kube-proxy are known by, what an apply of objects would change, and where the cluster's DNS is.
extends_documentation_fragment:
  - kubestead.homelab.attributes
  - kubestead.homelab.attributes.reads
options:
  objects:
    description:
      - Objects of Kubernetes as they are to be applied. The API says by a dry run what a server-side apply
        of the field manager C(kubestead) would do.
    type: list
    elements: dict
    default: []
  nodes:
    description: Nodes that are to be ready.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Which pod network is there
  kubestead.homelab.pod_network_info:
    objects: "{{ lookup('ansible.builtin.template', 'flannel.yaml.j2') | from_yaml_all | list }}"
  register: seen
"""

RETURN = r"""
answers:
  description: Whether the API answered; without a cluster it does not.
  returned: always
  type: bool
problem:
  description: Why it did not.
  returned: always
  type: str
networks:
  description: The pod networks that are there.
  returned: always
  type: list
  elements: str
  sample: [flannel]
kube_proxy:
  description: Whether kube-proxy is there.
  returned: always
  type: bool
endpoint:
  description: C(HOST:PORT) at which nodes reach the API, as kubeadm noted it; empty where it is not known.
  returned: always
  type: str
would_change:
  description: Those of O(objects) that an apply would make or change; all of them without an answer.
  returned: always
  type: list
  elements: str
  sample: [DaemonSet/kube-flannel-ds]
not_ready:
  description: What keeps those of O(nodes) from being ready, as sentences.
  returned: always
  type: list
  elements: str
dns_spread:
  description: Whether M(kubestead.homelab.dns_spread) would have nothing to do.
  returned: always
  type: bool
secrets:
  description: The names of Cilium's certificates that are there.
  returned: always
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils.applying import Applying, name
from ansible_collections.kubestead.homelab.plugins.module_utils.dns_spread import Dns
from ansible_collections.kubestead.homelab.plugins.module_utils.kubeconfig import (
    Client,
    KubeconfigError,
    load_kubeconfig,
)
from ansible_collections.kubestead.homelab.plugins.module_utils.node_state import (
    Paths,
    cluster_view,
    not_ready,
)
from ansible_collections.kubestead.homelab.plugins.module_utils.pod_network import (
    PodNetwork,
    PodNetworkError,
    look,
)


def main() -> None:
    """Ask."""
    module = AnsibleModule(
        argument_spec={
            "objects": {"type": "list", "elements": "dict", "default": []},
            "nodes": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    objects = module.params["objects"]
    found, problem, spread = PodNetwork(), "", False
    would_change = [name(one) for one in objects]
    try:
        client = Client(load_kubeconfig(Paths().kubernetes / "admin.conf"))
        found = look(client)
        would_change = Applying(client).would_change(objects)
        dns = Dns(client)
        spread = dns.settled() and not dns.to_move()
    except (KubeconfigError, PodNetworkError) as error:
        problem = str(error)
    module.exit_json(
        changed=False,
        answers=not problem,
        problem=problem,
        would_change=would_change,
        not_ready=not_ready(cluster_view(Paths()), module.params["nodes"]),
        dns_spread=spread,
        **found.as_dict(),
    )


if __name__ == "__main__":
    main()
