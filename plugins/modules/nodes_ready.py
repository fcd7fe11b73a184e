#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: nodes_ready
short_description: Wait until nodes of a cluster are ready
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Run it on a control plane; it asks the API with C(admin.conf). Fails with the nodes that are not ready
    in time, and with what each of them says of itself.
extends_documentation_fragment:
  - kubestead.homelab.attributes
  - kubestead.homelab.attributes.reads
options:
  names:
    description: The nodes. Others are not waited for.
    type: list
    elements: str
    required: true
  timeout:
    description: How many seconds that may take.
    type: int
    default: 300
"""

EXAMPLES = r"""
- name: The nodes are ready
  kubestead.homelab.nodes_ready:
    names: [cp-1, worker-1]
"""

RETURN = r"""
nodes:
  description: All nodes that the API knows.
  returned: always
  type: list
  elements: dict
  sample: [{name: cp-1, ready: true, version: v1.36.4}]
"""

import time
from dataclasses import asdict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils.node_state import (
    Paths,
    cluster_view,
    not_ready,
)


def main() -> None:
    """Ask until all are ready or the time is over."""
    module = AnsibleModule(
        argument_spec={
            "names": {"type": "list", "elements": "str", "required": True},
            "timeout": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    deadline = time.monotonic() + module.params["timeout"]
    while True:
        view = cluster_view(Paths())
        problems = not_ready(view, module.params["names"])
        if not problems or module.check_mode or time.monotonic() >= deadline:
            break
        time.sleep(1)
    nodes = [asdict(node) for node in view.nodes]
    if problems and not module.check_mode:
        module.fail_json(
            msg=f"Not ready after {module.params['timeout']} seconds: {'; '.join(problems)}. On a node, "
            "journalctl -u kubelet and crictl ps -a say more.",
            nodes=nodes,
        )
    module.exit_json(changed=False, nodes=nodes)


if __name__ == "__main__":
    main()
