#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: node_labels
short_description: Labels and taints of a cluster's nodes, as they are declared
version_added: 0.3.0
author: Kubestead contributors (@kubestead)
description:
  - Run it on a control plane, once for all nodes; it asks the API with C(admin.conf).
  - Sets what is declared. What it has set before and is no longer declared goes. All that others have set
    stays, and so do labels of Kubernetes (C(kubernetes.io), C(k8s.io)), C(nvidia.com), C(accelerator) and
    C(gpu-type), whoever has set them; only those of C(feature.node.kubernetes.io) go again.
  - What is ours is written down on the node, in annotation C(kubestead.homelab/declared).
extends_documentation_fragment:
  - kubestead.homelab.attributes
  - kubestead.homelab.attributes.changes
options:
  nodes:
    description:
      - By the name of the node, RV(ignore:labels) (a dictionary), RV(ignore:taints) (a list of
        C(KEY=VALUE:EFFECT)) and RV(ignore:features) (a list). The feature V(gpu) is the label
        C(feature.node.kubernetes.io/gpu=nvidia), V(storage) is
        C(feature.node.kubernetes.io/storage=available).
    type: dict
    required: true
  kubeconfig:
    description: Who asks.
    type: path
    default: /etc/kubernetes/admin.conf
"""

EXAMPLES = r"""
- name: Nodes are labelled as declared
  kubestead.homelab.node_labels:
    nodes:
      worker-1:
        labels: {rack: left}
        taints: ["dedicated=video:NoSchedule"]
        features: [gpu]
"""

RETURN = r"""
changes:
  description: What has changed, or in check mode would change.
  returned: success
  type: list
  elements: str
  sample: ["worker-1: rack=left"]
absent:
  description: Nodes that the cluster does not have.
  returned: success
  type: list
  elements: str
left:
  description: Labels, by node, that we have set, are no longer declared, and stay.
  returned: success
  type: dict
  sample: {worker-1: [topology.kubernetes.io/zone]}
"""

import json
import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils.kubeconfig import (
    Client,
    KubeconfigError,
    load_kubeconfig,
)
from ansible_collections.kubestead.homelab.plugins.module_utils.labelling import (
    ANNOTATION,
    Change,
    Wanted,
    declared,
    lines,
    plan,
)

Node = t.Dict[str, t.Any]

CONFLICT = 409
ATTEMPTS = 5


def read_wanted(module: AnsibleModule) -> dict[str, Wanted]:
    """Return what is declared, or fail with all that is wrong with it."""
    wanted, problems = {}, []
    for name, entry in module.params["nodes"].items():
        given = entry or {}
        wanted[name], wrong = declared(
            given.get("labels") or {}, given.get("taints") or [], given.get("features") or []
        )
        problems += [f"{name}: {problem}" for problem in wrong]
    if problems:
        module.fail_json(msg="Nothing was changed. " + ". ".join(problems))
    return wanted


def ask(module: AnsibleModule, client: Client, path: str) -> Node:
    """Return what the API says, or fail."""
    answer = client.request(path)
    if not answer.ok:
        module.fail_json(
            msg=f"The API did not tell its nodes: {answer.status or 'no answer'} {answer.body[:300]}. First: "
            "ansible-playbook playbooks/control_plane.yml"
        )
    found: Node = answer.json() or {}
    return found


def apply(module: AnsibleModule, client: Client, node: Node, wanted: Wanted) -> Change:
    """Change one node. Who was written to by somebody else in between is looked at again."""
    name = node["metadata"]["name"]
    path = f"/api/v1/nodes/{name}"
    for _attempt in range(ATTEMPTS):
        change = plan(node, wanted)
        if not change.needed or module.check_mode:
            return change
        answer = client.request(
            path, "PATCH", change.patch(node["metadata"]["resourceVersion"]), "application/merge-patch+json"
        )
        if answer.ok:
            return change
        if answer.status != CONFLICT:
            break
        node = ask(module, client, path)
    said = (answer.json() or {}).get("message") or answer.body[:300] or "no answer"
    module.fail_json(msg=f"Node {name} could not be labelled: {answer.status} {said}")
    raise AssertionError("fail_json ends the module")


def shown(node: Node, change: Change) -> dict[str, str]:
    """Return the difference for a person."""
    metadata = node["metadata"]
    labels = {key: (metadata.get("labels") or {}).get(key) for key in change.labels}
    before: Node = {"labels": {key: value for key, value in labels.items() if value is not None}}
    after: Node = {"labels": {key: value for key, value in change.labels.items() if value is not None}}
    if change.taints is not None:
        before["taints"], after["taints"] = (node.get("spec") or {}).get("taints") or [], change.taints
    return {
        "before_header": metadata["name"],
        "after_header": metadata["name"],
        "before": json.dumps(before, indent=1, sort_keys=True) + "\n",
        "after": json.dumps(after, indent=1, sort_keys=True) + "\n",
    }


def main() -> None:
    """Read, compare, change."""
    module = AnsibleModule(
        argument_spec={
            "nodes": {"type": "dict", "required": True},
            "kubeconfig": {"type": "path", "default": "/etc/kubernetes/admin.conf"},
        },
        supports_check_mode=True,
    )
    wanted = read_wanted(module)
    path = Path(module.params["kubeconfig"])
    if module.check_mode and not path.exists():  # there is no cluster yet
        module.exit_json(changed=bool(wanted), changes=[], absent=sorted(wanted), left={})
    try:
        client = Client(load_kubeconfig(path), timeout=15)
    except KubeconfigError as error:
        module.fail_json(msg=f"{path}: {error}. First: ansible-playbook playbooks/control_plane.yml")
    there = {
        item["metadata"]["name"]: item for item in ask(module, client, "/api/v1/nodes").get("items") or []
    }
    result: Node = {
        "changed": False,
        "changes": [],
        "absent": sorted(set(wanted) - set(there)),
        "left": {},
        "diff": [],
    }
    for name in sorted(set(wanted) & set(there)):
        change = apply(module, client, there[name], wanted[name])
        if change.left:
            result["left"][name] = change.left
        if change.needed:
            result["changed"] = True
            result["changes"] += lines(name, change) or [f"{name}: annotation {ANNOTATION}"]
            result["diff"].append(shown(there[name], change))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
