#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_check
short_description: Check a cluster from one of its nodes
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - On each node the health of the kubelet, the cluster's DNS and API through their service addresses (which
    takes kube-proxy and the pod network), and how long the certificates last.
  - With O(whole_cluster), where C(admin.conf) is, also what the API says of nodes, system pods and
    the administrator's rights.
  - Asks again until everything is well or O(timeout) is over. A check that is not passed does not fail the
    module; see RV(ok).
extends_documentation_fragment:
  - kubestead.homelab.attributes
  - kubestead.homelab.attributes.reads
options:
  service_subnet:
    description: The range of the services; its 1st address is the API's, its 10th the DNS's.
    type: str
    default: 10.96.0.0/12
  dns_domain:
    description: The cluster's domain.
    type: str
    default: cluster.local
  whole_cluster:
    description: Also ask the API what it says of the cluster.
    type: bool
    default: false
  members:
    description: The names of the nodes that have to be ready.
    type: list
    elements: str
    default: []
  workers:
    description: The names of the nodes that have to have joined.
    type: list
    elements: str
    default: []
  absent:
    description: Workers that take no part in this run; they are named and do not fail the check.
    type: list
    elements: str
    default: []
  certificate_days:
    description: Warn when a certificate ends in fewer days.
    type: int
    default: 30
  timeout:
    description: How many seconds to wait until all is well.
    type: int
    default: 180
"""

EXAMPLES = r"""
- name: Check it from here
  kubestead.homelab.cluster_check:
    whole_cluster: true
    members: [cp-1, worker-1]
    workers: [worker-1]
  register: checked
"""

RETURN = r"""
ok:
  description: Whether all checks were passed.
  returned: success
  type: bool
checks:
  description: Each check.
  returned: success
  type: list
  elements: dict
  sample: [{name: pod network, ok: true, warning: false, detail: kubernetes.default.svc.cluster.local is
  10.96.0.1}]
problems:
  description: What is wrong, in a sentence each.
  returned: success
  type: list
  elements: str
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils.cluster_checks import (
    Question,
    as_dicts,
    ask,
    service_address,
)


def main() -> None:
    """Ask until all is well or the time is over."""
    module = AnsibleModule(
        argument_spec={
            "service_subnet": {"type": "str", "default": "10.96.0.0/12"},
            "dns_domain": {"type": "str", "default": "cluster.local"},
            "whole_cluster": {"type": "bool", "default": False},
            "members": {"type": "list", "elements": "str", "default": []},
            "workers": {"type": "list", "elements": "str", "default": []},
            "absent": {"type": "list", "elements": "str", "default": []},
            "certificate_days": {"type": "int", "default": 30},
            "timeout": {"type": "int", "default": 180},
        },
        supports_check_mode=True,
    )
    given = module.params
    question = Question(
        dns_server=service_address(given["service_subnet"], 10),
        dns_name=f"kubernetes.default.svc.{given['dns_domain']}",
        api_service=service_address(given["service_subnet"], 1),
        members=given["members"],
        workers=given["workers"],
        absent=given["absent"],
        whole_cluster=given["whole_cluster"],
        certificate_days=given["certificate_days"],
    )
    deadline = time.monotonic() + (0 if module.check_mode else given["timeout"])
    while True:
        checks = ask(question)
        problems = [f"{check.name}: {check.detail}" for check in checks if not check.ok]
        if not problems or time.monotonic() >= deadline:
            break
        time.sleep(1)
    module.exit_json(changed=False, ok=not problems, checks=as_dicts(checks), problems=problems)


if __name__ == "__main__":
    main()
