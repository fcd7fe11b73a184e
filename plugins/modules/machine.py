#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: machine
short_description: A machine of the registry
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Puts a machine into the machine registry, changes its entry, or takes it out; through the State API, or
    with O(registry) in a file on the host that the module runs on.
  - The registry is checked as a whole before anything is written. Where the change would make it wrong,
    all problems are named and the old one stays.
  - Other writers of the file wait meanwhile; its order, its unknown keys, mode and owner stay.
extends_documentation_fragment:
  - kubestead.homelab.attributes
  - kubestead.homelab.attributes.changes
  - kubestead.homelab.state_api
  - kubestead.homelab.state_api.module
options:
  mac:
    description: The machine's MAC address, in any common notation.
    type: str
    required: true
  state:
    description: Whether the registry has the machine.
    type: str
    choices: [present, absent]
    default: present
  registry:
    description:
      - A registry file, JSON or YAML, which is changed instead of the State API's. Where there is none, one
        is made.
    type: path
  exclusive:
    description: The entry gets exactly the keys that are given here; else its other keys stay.
    type: bool
    default: false
  hostname:
    description: Its host name. A new machine needs it.
    type: str
  role:
    description: C(control-plane), C(worker) or C(compute). A new machine needs it.
    type: str
  architecture:
    description: C(amd64) or C(arm64). A new machine needs it.
    type: str
  features:
    description: What it is to offer, such as C(kubernetes), C(gpu), C(nfs) or C(storage).
    type: list
    elements: str
  ip:
    description: Its address.
    type: str
  specs:
    description: What it is made of, for people.
    type: dict
  os:
    description: The operating system that is installed, such as C(debian-13).
    type: str
  cluster:
    description: The cluster that it belongs to.
    type: str
  distribution:
    description: C(kubeadm), C(rke2) or C(k3s).
    type: str
  labels:
    description: Labels of its node.
    type: dict
  taints:
    description: Taints of its node, each with C(key), C(value) and C(effect).
    type: list
    elements: dict
  firmware:
    description: C(bios) or C(uefi).
    type: str
  disk:
    description: The disk to install to, by its stable name below C(/dev/disk/by-id).
    type: str
  install_method:
    description: How it is installed, C(image) or C(installer).
    type: str
  gpu_pci_address:
    description: Where its GPU is, such as C(0000:01:00.0).
    type: str
  proxmox:
    description: Where it is on a Proxmox host, if it is a virtual machine.
    type: dict
  bmc:
    description: How it is switched on and off. Secrets by reference only.
    type: dict
  locked:
    description: It is never given an installer.
    type: bool
  extra:
    description: Keys of your own.
    type: dict
    default: {}
seealso:
  - module: kubestead.homelab.machine_info
  - module: kubestead.homelab.machine_state
"""

EXAMPLES = r"""
- name: The registry has a third worker
  kubestead.homelab.machine:
    mac: 52-54-00-77-00-23
    hostname: worker-3
    role: worker
    architecture: amd64
    features: [kubernetes, storage]
    ip: 10.0.0.23
  delegate_to: localhost

- name: It gets a label; what else the registry says of it stays
  kubestead.homelab.machine:
    mac: 52:54:00:77:00:23
    labels:
      rack: left
  delegate_to: localhost

- name: It is gone from the registry that git keeps
  kubestead.homelab.machine:
    mac: 52:54:00:77:00:23
    state: absent
    registry: inventory/homelab/registry.json
  delegate_to: localhost
"""

RETURN = r"""
mac:
  description: The MAC address in the form that Kubestead uses.
  returned: always
  type: str
  sample: 52:54:00:77:00:23
machine:
  description: The machine's entry as it is, or in check mode would be. Not there when the machine is not.
  returned: when the registry has the machine
  type: dict
  sample: {hostname: worker-3, role: worker, architecture: amd64}
problems:
  description: What would be wrong with the registry.
  returned: when the change was refused for it
  type: list
  elements: str
  sample: ["registry.json: 52:54:00:77:00:23: role is \"master\", expected control-plane, worker or compute"]
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils.entry_change import (
    Change,
    remove_entry,
    set_entry,
)
from ansible_collections.kubestead.homelab.plugins.module_utils.mac import normalise_mac
from ansible_collections.kubestead.homelab.plugins.module_utils.machine import KEYS
from ansible_collections.kubestead.homelab.plugins.module_utils.registry import Registry, RegistryError
from ansible_collections.kubestead.homelab.plugins.module_utils.registry_sync import entry_fingerprint
from ansible_collections.kubestead.homelab.plugins.module_utils.state_api_errors import StateApiRefusedError
from ansible_collections.kubestead.homelab.plugins.module_utils.state_api_module import connected, with_api

_ATTEMPTS = 8
_CHANGED_MEANWHILE = 412
_TYPES = {
    "features": {"type": "list", "elements": "str"},
    "taints": {"type": "list", "elements": "dict"},
    "specs": {"type": "dict"},
    "labels": {"type": "dict"},
    "proxmox": {"type": "dict"},
    "bmc": {"type": "dict"},
    "locked": {"type": "bool"},
}


def planned(module: AnsibleModule, registry: Registry) -> Change:
    """What the module's options make of a registry."""
    mac = module.params["mac"]
    if module.params["state"] == "absent":
        return remove_entry(registry, mac)
    values = {key: module.params[key] for key in KEYS if module.params[key] is not None}
    return set_entry(registry, mac, {**module.params["extra"], **values}, module.params["exclusive"])


def in_file(module: AnsibleModule, path: str) -> Change:
    """Change a registry file under its lock; in check mode say what would change."""
    plans: list[Change] = []

    def change(registry: Registry) -> Registry:
        plans.append(planned(module, registry))
        return plans[-1].registry

    if module.check_mode or module.params["state"] == "absent":
        try:
            registry = Registry.load(path)
        except RegistryError:
            if os.path.lexists(path):
                raise
            registry = Registry({}, path)
        plan = planned(module, registry)
        if module.check_mode or not plan.needed:
            return plan
    Registry.update(path, change, create=True)
    return plans[-1]


def in_api(module: AnsibleModule) -> Change:
    """Change the State API's registry; in check mode say what would change."""
    with connected(module) as client:
        for attempt in range(_ATTEMPTS):
            live = client.registry()
            registry = Registry.parse(live["text"] or "{}", live["path"])
            plan = planned(module, registry)
            if not plan.needed or module.check_mode:
                break
            seen = entry_fingerprint(registry.entry(plan.mac))
            try:
                if plan.after is None:
                    client.delete_machine(plan.mac, seen)
                else:
                    client.put_machine(plan.mac, plan.after, seen)
                break
            except StateApiRefusedError as error:
                if error.status != _CHANGED_MEANWHILE or attempt == _ATTEMPTS - 1:
                    raise
    return plan


def main() -> None:
    """Compare, change, tell."""
    module = AnsibleModule(
        argument_spec=with_api(
            mac={"type": "str", "required": True},
            state={"type": "str", "choices": ["present", "absent"], "default": "present"},
            registry={"type": "path"},
            exclusive={"type": "bool", "default": False},
            extra={"type": "dict", "default": {}},
            **{key: _TYPES.get(key, {"type": "str"}) for key in KEYS},
        ),
        supports_check_mode=True,
    )
    path = module.params["registry"]
    try:
        normalise_mac(module.params["mac"])
    except ValueError as error:
        module.fail_json(msg=f"{error}.")
    try:
        plan = in_file(module, path) if path else in_api(module)
    except RegistryError as error:
        module.fail_json(msg=f"{error}\nNothing was changed.", problems=[str(one) for one in error.problems])
    result: dict[str, Any] = {"changed": plan.needed, "mac": plan.mac}
    if plan.after is not None:
        result["machine"] = plan.after
    if module._diff and plan.needed:
        result["diff"] = plan.difference(path or module.params["api_url"])
    for warning in plan.warnings:
        module.warn(warning)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
