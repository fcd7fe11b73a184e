#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: machine_preflight
short_description: Check that a machine can be a node
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Looks at memory, processors, room on disk and the machine's networks, and fails with all that is too
    little or in the way. It changes nothing and needs nothing but Python on the machine.
  - A machine that is a node already is only warned of too little room, so that a run may mend it.
  - It brings the distribution's facts, as M(ansible.builtin.setup) names them, for the roles that follow;
    none of a distribution that it does not know.
extends_documentation_fragment:
  - kubestead.homelab.attributes
  - kubestead.homelab.attributes.reads
options:
  memory:
    description: The memory that it takes, in MiB.
    type: int
    default: 0
  cpus:
    description: The number of processors that it takes.
    type: int
    default: 1
  disk:
    description:
      - The room that it takes, in MiB, on each file system that containers, kubelet and etcd write to.
    type: int
    default: 0
  ranges:
    description:
      - Ranges of addresses that the machine's own networks must not overlap with, by what they are for.
    type: dict
    default: {}
  vip:
    description: An address that the machine has to be able to carry, so that lies in one of its networks.
    type: str
    default: ""
  kubeadm:
    description: Also tell what M(kubestead.homelab.kubeadm_facts) tells, in the same round trip.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: It can be a control plane
  kubestead.homelab.machine_preflight:
    memory: 1700
    cpus: 2
    disk: 4096
    ranges:
      the pod range: 10.244.0.0/16
"""

RETURN = r"""
machine:
  description: What there is; sizes in MiB.
  returned: always
  type: dict
  sample:
    memory: 3914
    cpus: 2
    disk: {/var/lib: 30122}
    networks: {10.0.0.0/24: eth0}
    routes: {10.0.0.0/24: eth0}
    member: false
    machine_id: 4a0c3e5a0c6b4b1e9e1d2f3a4b5c6d7e
    product_uuid: ""
kubeadm:
  description: What RV(kubestead.homelab.kubeadm_facts#module:kubeadm) is.
  returned: when O(kubeadm)
  type: dict
problems:
  description: What is too little or in the way.
  returned: always
  type: list
  elements: str
ansible_facts:
  description: Facts about the machine, of a distribution that is known.
  returned: success
  type: dict
  contains:
    distribution:
      description: The distribution's name.
      type: str
      sample: Debian
    distribution_major_version:
      description: Its version, without what follows a point.
      type: str
      sample: "13"
    os_family:
      description: The family that it belongs to.
      type: str
      sample: Debian
"""

from dataclasses import asdict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils.address_ranges import as_list
from ansible_collections.kubestead.homelab.plugins.module_utils.distribution import distribution_facts
from ansible_collections.kubestead.homelab.plugins.module_utils.machine_needs import Needs, judge, look
from ansible_collections.kubestead.homelab.plugins.module_utils.node_state import probe


def main() -> None:
    """Look, judge, and fail with all of it."""
    module = AnsibleModule(
        argument_spec={
            "memory": {"type": "int", "default": 0},
            "cpus": {"type": "int", "default": 1},
            "disk": {"type": "int", "default": 0},
            "ranges": {"type": "dict", "default": {}},
            "vip": {"type": "str", "default": ""},
            "kubeadm": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    given = module.params
    machine = look()
    needs = Needs(memory=given["memory"], cpus=given["cpus"], disk=given["disk"])
    checked = judge(machine, needs, given["ranges"], given["vip"])
    for warning in checked.warnings:
        module.warn(warning[:1].upper() + warning[1:])
    if checked.problems:
        module.fail_json(
            msg=f"Nothing was touched. This machine cannot be a node as it is:{as_list(checked.problems)}",
            machine=asdict(machine),
            problems=checked.problems,
        )
    facts = distribution_facts()
    more = {"kubeadm": probe().as_dict()} if given["kubeadm"] else {}
    module.exit_json(changed=False, machine=asdict(machine), problems=[], ansible_facts=facts, **more)


if __name__ == "__main__":
    main()
