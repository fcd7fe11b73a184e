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
  - Checks machines and address ranges of a cluster against each other and fails with all problems at once.
    No machine is asked; run it on the controller before anything else.
  - An even number of control planes is only warned of.
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
"""

EXAMPLES = r"""
- name: Can this become a cluster
  kubestead.homelab.cluster_preflight:
    control_planes: [cp-1]
    workers: [worker-1]
    addresses: {cp-1: 10.0.0.11, worker-1: 10.0.0.21}
    pod_subnet: 10.244.0.0/16
    service_subnet: 10.96.0.0/12
  delegate_to: localhost
"""

RETURN = r"""
problems:
  description: All that has to be put right.
  returned: always
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils.address_ranges import (
    check_machines,
    check_ranges,
    check_sizes,
)


def main() -> None:
    """Check everything and fail with all of it."""
    module = AnsibleModule(
        argument_spec={
            "control_planes": {"type": "list", "elements": "str", "required": True},
            "workers": {"type": "list", "elements": "str", "default": []},
            "names": {"type": "dict", "default": {}},
            "addresses": {"type": "dict", "default": {}},
            "pod_subnet": {"type": "str", "required": True},
            "service_subnet": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    given = module.params
    checked = check_machines(given["control_planes"], given["workers"], given["names"], given["addresses"])
    ranges = {"the pod range": given["pod_subnet"], "the service range": given["service_subnet"]}
    problems = checked.problems + check_ranges(ranges, given["addresses"])
    machines = len(given["control_planes"]) + len(given["workers"])
    problems += check_sizes(given["pod_subnet"], given["service_subnet"], machines)
    for warning in checked.warnings:
        module.warn(warning)
    if problems:
        lines = "".join(f"\n- {problem[:1].upper()}{problem[1:]}" for problem in problems)
        module.fail_json(msg=f"Nothing was touched. To be put right first:{lines}", problems=problems)
    module.exit_json(changed=False, problems=[])


if __name__ == "__main__":
    main()
