#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: dns_spread
short_description: Keep a cluster's DNS on more than one node
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Whichever node of a new cluster is ready first gets every pod of CoreDNS. When that node is lost, no name
    of the cluster is known for the five minutes until Kubernetes gives its pods up.
  - Where one node has all pods of the deployment C(kube-system/coredns), and another is ready and may take
    some, all but one are deleted; the deployment makes them anew, on other nodes as it prefers. Should they
    come back together, it is tried again. Where all are on nodes that are lost, they are deleted at once.
  - Nothing is done to a deployment of one pod, to one that does not prefer nodes apart, and in a cluster
    without it. It is waited until the pods that are made anew have been given a node, not until they run.
  - Run it on a control plane; it asks the API with C(admin.conf).
extends_documentation_fragment:
  - kubestead.homelab.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  timeout:
    description:
      - How many seconds to wait until each pod has been given a node, and no node that has just become ready
        keeps them off. When they are over, those that have one are looked at.
    type: int
    default: 30
"""

EXAMPLES = r"""
- name: The cluster's DNS is on more than one node
  kubestead.homelab.dns_spread:
"""

RETURN = r"""
pods:
  description: The pods that were deleted, or in check mode would be, with their namespace.
  returned: success
  type: list
  elements: str
  sample: [kube-system/coredns-589f44dc88-mj2v2]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils.dns_spread import Dns, spread
from ansible_collections.kubestead.homelab.plugins.module_utils.kubeconfig import (
    Client,
    KubeconfigError,
    load_kubeconfig,
)
from ansible_collections.kubestead.homelab.plugins.module_utils.node_state import Paths
from ansible_collections.kubestead.homelab.plugins.module_utils.pod_network import PodNetworkError


def main() -> None:
    """Look where the pods are, and make some anew."""
    module = AnsibleModule(
        argument_spec={"timeout": {"type": "int", "default": 30}}, supports_check_mode=True
    )
    try:
        dns = Dns(Client(load_kubeconfig(Paths().kubernetes / "admin.conf")))
        if module.check_mode:
            dns.settled()
            pods = dns.to_move()
        else:
            pods = spread(dns, module.params["timeout"])
    except (KubeconfigError, PodNetworkError) as error:
        module.fail_json(msg=f"The pods of the cluster's DNS cannot be spread over its nodes: {error}")
    module.exit_json(changed=bool(pods), pods=[f"{namespace}/{name}" for namespace, name in pods])


if __name__ == "__main__":
    main()
