#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_member
short_description: Take one node out of a cluster
version_added: 0.3.0
author: Kubestead contributors (@kubestead)
description:
  - Run it on a control plane that stays. Moves the pods of the node, as far as it is up, removes its etcd
    member where it has one, deletes it, and looks again.
  - The node itself may be dead, or have been installed anew. It is not touched; see
    M(kubestead.homelab.cluster_reset) for that.
  - Refuses, before anything is changed, to remove the last control plane, and what would cost etcd its
    majority.
extends_documentation_fragment:
  - kubestead.homelab.attributes
  - kubestead.homelab.attributes.changes
options:
  name:
    description: The name of the node.
    type: str
    required: true
  addresses:
    description: Its addresses, by which an etcd member is known that never started.
    type: list
    elements: str
    default: []
  state:
    description: There is one only.
    type: str
    choices: [absent]
    default: absent
  drain:
    description: Whether its pods are moved first. Without, they end with it.
    type: bool
    default: true
  drain_timeout:
    description: How many seconds that may take.
    type: int
    default: 180
"""

EXAMPLES = r"""
- name: It is no member any more
  kubestead.homelab.cluster_member:
    name: cp-3
    addresses: [10.0.0.13]
"""

RETURN = r"""
steps:
  description: What was done, or in check mode would be.
  returned: success
  type: list
  elements: str
  sample: ["pods of cp-3 moved", "etcd member cp-3 (8e9e05c52164694d) removed", "node cp-3 deleted"]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils.leftovers import Host
from ansible_collections.kubestead.homelab.plugins.module_utils.member_removal import (
    Leaving,
    MemberRemoval,
    RemovalError,
)


def main() -> None:
    """Look, take out, look again."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "addresses": {"type": "list", "elements": "str", "default": []},
            "state": {"type": "str", "choices": ["absent"], "default": "absent"},
            "drain": {"type": "bool", "default": True},
            "drain_timeout": {"type": "int", "default": 180},
        },
        supports_check_mode=True,
    )
    given = module.params
    leaving = Leaving(given["name"], given["addresses"], given["drain"], given["drain_timeout"])
    try:
        steps = MemberRemoval(leaving, Host()).run(module.check_mode)
    except RemovalError as error:
        module.fail_json(msg=str(error))
    before = "".join(f"{step}\n" for step in steps.done)
    module.exit_json(changed=steps.needed, steps=steps.done, diff={"before": "", "after": before})


if __name__ == "__main__":
    main()
