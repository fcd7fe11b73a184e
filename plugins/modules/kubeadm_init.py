#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kubeadm_init
short_description: Make the first control plane of a cluster
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Finds out what is on the machine and does what is missing, in one round trip. Nothing when the cluster
    runs; starts the kubelet when the cluster's data is there but does not run; pulls the images and runs
    C(kubeadm init) when there is nothing; goes on where an interrupted run stopped.
  - Data of a cluster is never removed. Where two readings are possible it fails and says what to type.
  - Never makes a second cluster. It fails when a machine in O(others) already belongs to one, or when a
    control plane could not be asked (O(unknown)).
  - C(/etc/kubernetes/admin.conf) is seen to be allowed everything, and made so where its certificate or its
    rights (RBAC) are not right. Certificates that end soon are warned of.
  - One kubeadm at a time. When an earlier run was killed and its kubeadm goes on, this one waits for it.
extends_documentation_fragment:
  - kubestead.homelab.attributes
  - kubestead.homelab.attributes.changes
options:
  host:
    description: How the machine is called in messages.
    type: str
    required: true
  config:
    description:
      - The configuration for kubeadm, as YAML. Written to O(config_path), mode 0600, after
        C(kubeadm config validate) has accepted it.
    type: str
    required: true
  config_path:
    description: Where the configuration is kept.
    type: path
    default: /etc/kubernetes/kubeadm-config.yaml
  files:
    description:
      - What the API server reads beside its certificates, by the name of the file. It is written to
        C(/etc/kubernetes/api-server), for root only.
    type: dict
    default: {}
  encryption:
    description:
      - Whether a new cluster seals its Secrets in etcd. The key is made on the machine, in
        C(/etc/kubernetes/api-server/encryption.yaml), and is never replaced. Without it a backup of etcd
        cannot be read.
    type: bool
    default: false
  others:
    description: What RV(kubestead.homelab.kubeadm_facts#module:kubeadm) said on the other machines, by host.
    type: dict
    default: {}
  unknown:
    description: Control planes that could not be asked.
    type: list
    elements: str
    default: []
  api_port:
    description: The port of the API server on this machine.
    type: int
    default: 6443
  cri_socket:
    description: Where the container runtime listens.
    type: str
    default: unix:///var/run/containerd/containerd.sock
  timeout:
    description: How many seconds C(kubeadm init) may take, and how long an earlier one is waited for.
    type: int
    default: 600
  image_timeout:
    description: How many seconds pulling the images may take.
    type: int
    default: 900
  ready_timeout:
    description: How many seconds the API server may take to be ready.
    type: int
    default: 240
notes:
  - The output of kubeadm is in C(/var/log/kubeadm-init.log) on the machine, readable by root, without tokens.
  - C(/etc/kubernetes/kubestead-init.json) records V(begun) before and V(done) after.
seealso:
  - module: kubestead.homelab.kubeadm_facts
"""

EXAMPLES = r"""
- name: The first control plane
  kubestead.homelab.kubeadm_init:
    host: "{{ inventory_hostname }}"
    config: "{{ lookup('ansible.builtin.template', 'kubeadm-config.yaml.j2') }}"
"""

RETURN = r"""
action:
  description: V(nothing), V(start), V(initialise), V(resume) or V(clean_and_initialise).
  returned: success
  type: str
  sample: initialise
reason:
  description: Why.
  returned: success
  type: str
  sample: there is no cluster yet
admin_checksum:
  description: SHA-256 of C(/etc/kubernetes/admin.conf), empty where there is none yet.
  returned: success
  type: str
kubeadm:
  description: What is true afterwards, see M(kubestead.homelab.kubeadm_facts).
  returned: success
  type: dict
"""

from contextlib import nullcontext
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils.initialising import (
    Initialiser,
    InitOptions,
)
from ansible_collections.kubestead.homelab.plugins.module_utils.kubeadm import BusyError, lock
from ansible_collections.kubestead.homelab.plugins.module_utils.leftovers import Host
from ansible_collections.kubestead.homelab.plugins.module_utils.node_plan import Other
from ansible_collections.kubestead.homelab.plugins.module_utils.node_run import ClusterError


def main() -> None:
    """Hold the lock, decide, do."""
    module = AnsibleModule(
        argument_spec={
            "host": {"type": "str", "required": True},
            "config": {"type": "str", "required": True},
            "config_path": {"type": "path", "default": "/etc/kubernetes/kubeadm-config.yaml"},
            "files": {"type": "dict", "default": {}},
            "encryption": {"type": "bool", "default": False},
            "others": {"type": "dict", "default": {}},
            "unknown": {"type": "list", "elements": "str", "default": []},
            "api_port": {"type": "int", "default": 6443},
            "cri_socket": {"type": "str", "default": "unix:///var/run/containerd/containerd.sock"},
            "timeout": {"type": "int", "default": 600},
            "image_timeout": {"type": "int", "default": 900},
            "ready_timeout": {"type": "int", "default": 240},
        },
        supports_check_mode=True,
    )
    given = module.params
    options = InitOptions(
        host=given["host"],
        config=given["config"],
        config_path=Path(given["config_path"]),
        files=given["files"],
        encryption=given["encryption"],
        port=given["api_port"],
        timeout=given["timeout"],
        image_timeout=given["image_timeout"],
        ready_timeout=given["ready_timeout"],
        others=[Other.of(host, facts) for host, facts in given["others"].items() if host != given["host"]],
        unknown=given["unknown"],
    )
    try:
        with nullcontext() if module.check_mode else lock(given["timeout"]) as held:
            result = Initialiser(options, Host(cri_socket=given["cri_socket"]), held).run(module.check_mode)
    except (ClusterError, BusyError) as error:
        module.fail_json(msg=str(error))
    for warning in result.warnings:
        module.warn(warning)
    admin = "/etc/kubernetes/admin.conf"
    module.exit_json(
        changed=result.changed,
        admin_checksum=module.sha256(admin) if "admin.conf" in result.node.files else "",
        action=result.action,
        reason=result.reason,
        kubeadm=result.node.as_dict(),
        diff=[
            difference(str(options.config_path), result.config_before, options.config),
            *(
                difference(f"/etc/kubernetes/api-server/{name}", before, options.files[name])
                for name, before in result.files_before.items()
            ),
        ],
    )


def difference(path: str, before: str, after: str) -> "dict[str, str]":
    """Show what becomes of a file."""
    return {"before_header": path, "after_header": path, "before": before, "after": after}


if __name__ == "__main__":
    main()
