#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_workload
short_description: Prove that a cluster carries work
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Run it on a control plane; it asks the API with C(admin.conf). A deployment with a service is created and
    scaled, so that each node has a pod. From a pod on each node, every pod is asked by its address, the
    service by its address, and the cluster's DNS for the service's name; then all of it is deleted.
  - It lives in the namespace C(kubestead-check), which is deleted before and afterwards. Its pods are gone in
    the end, the empty namespace follows some seconds later. Nothing stays, so nothing has changed.
  - Does nothing in check mode.
extends_documentation_fragment:
  - kubestead.homelab.attributes
  - kubestead.homelab.attributes.reads
options:
  image:
    description: A busybox, with C(httpd), C(nc) and C(nslookup).
    type: str
    required: true
  nodes:
    description: The nodes to ask from.
    type: list
    elements: str
    required: true
  dns_domain:
    description: The cluster's domain.
    type: str
    default: cluster.local
  timeout:
    description: How many seconds each step may take.
    type: int
    default: 180
"""

EXAMPLES = r"""
- name: The cluster carries work
  kubestead.homelab.cluster_workload:
    image: docker.io/library/busybox:1.37.0
    nodes: [cp-1, worker-1]
"""

RETURN = r"""
ok:
  description: Whether all steps succeeded. A step that did not does not fail the module.
  returned: success
  type: bool
checks:
  description: The one line of it for the list of checks.
  returned: success
  type: list
  elements: dict
  sample: [{name: a deployment, ok: true, warning: false, detail: 'created, scaled to 2, deleted'}]
problems:
  description: What did not succeed.
  returned: success
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils.cluster_checks import (
    WORKLOAD,
    Check,
    as_dicts,
)
from ansible_collections.kubestead.homelab.plugins.module_utils.cluster_workload import (
    Workload,
    WorkloadError,
)
from ansible_collections.kubestead.homelab.plugins.module_utils.kubeconfig import (
    Client,
    KubeconfigError,
    load_kubeconfig,
)
from ansible_collections.kubestead.homelab.plugins.module_utils.node_state import Paths


def main() -> None:
    """Create, scale, reach, delete."""
    module = AnsibleModule(
        argument_spec={
            "image": {"type": "str", "required": True},
            "nodes": {"type": "list", "elements": "str", "required": True},
            "dns_domain": {"type": "str", "default": "cluster.local"},
            "timeout": {"type": "int", "default": 180},
        },
        supports_check_mode=True,
    )
    given = module.params
    if module.check_mode:
        module.exit_json(changed=False, ok=True, checks=[], problems=[])
    try:
        client = Client(load_kubeconfig(Paths().kubernetes / "admin.conf"), timeout=15)
        work = Workload(client, given["image"], given["nodes"], given["dns_domain"], given["timeout"])
        checks = [Check(WORKLOAD, True, ", ".join(work.run()))]
    except (KubeconfigError, WorkloadError) as error:
        checks = [Check(WORKLOAD, False, str(error))]
    problems = [f"{check.name}: {check.detail}" for check in checks if not check.ok]
    module.exit_json(changed=False, ok=not problems, checks=as_dicts(checks), problems=problems)


if __name__ == "__main__":
    main()
