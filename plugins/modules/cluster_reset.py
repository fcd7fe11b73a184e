#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_reset
short_description: Take Kubernetes off a machine
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Finds everything that a cluster has left on the machine and takes it away, in one round trip, whatever
    state the cluster is in. Pods, mounts, network namespaces and links of pods, firewall rules of Kubernetes
    and of the pod network, C(/etc/kubernetes), the data of etcd and of the kubelet.
  - Other firewall rules, packages, the container runtime and its images are kept.
  - Looks again afterwards, and fails with what is left.
extends_documentation_fragment:
  - kubestead.homelab.attributes
  - kubestead.homelab.attributes.changes
options:
  confirm:
    description: Has to be true. All data of the cluster on this machine is lost.
    type: bool
    required: true
  host:
    description: How the machine is called in messages.
    type: str
    default: this machine
  cri_socket:
    description: Where the container runtime listens.
    type: str
    default: unix:///var/run/containerd/containerd.sock
  use_kubeadm:
    description: Let C(kubeadm reset) undo first what it knows of.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Take it off
  kubestead.homelab.cluster_reset:
    confirm: true
"""

RETURN = r"""
removed:
  description: What was found and taken away (in check mode would be), by kind.
  returned: success
  type: dict
  sample: {link: [cni0, flannel.1], path: [/etc/kubernetes/admin.conf]}
kept:
  description: What is left on the machine, in words.
  returned: success
  type: list
  elements: str
  sample: ["the container runtime, with 9 images", /var/log/kubeadm-init.log]
kubelet_stopped:
  description: Whether the kubelet was running.
  returned: success
  type: bool
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils.leftovers import Host
from ansible_collections.kubestead.homelab.plugins.module_utils.resetting import explain, plain, reset


def main() -> None:
    """Reset when it was confirmed."""
    module = AnsibleModule(
        argument_spec={
            "confirm": {"type": "bool", "required": True},
            "host": {"type": "str", "default": "this machine"},
            "cri_socket": {"type": "str", "default": "unix:///var/run/containerd/containerd.sock"},
            "use_kubeadm": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    if not module.params["confirm"]:
        module.fail_json(msg="Nothing was touched: confirm is false. All data of the cluster would be lost.")
    result = reset(
        Host(cri_socket=module.params["cri_socket"]), module.params["use_kubeadm"], module.check_mode
    )
    if result.left:
        module.fail_json(msg=explain(module.params["host"], result), **plain(result))
    before = "".join(f"{piece}\n" for piece in result.found)
    module.exit_json(diff={"before": before, "after": ""}, **plain(result))


if __name__ == "__main__":
    main()
