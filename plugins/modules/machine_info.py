#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: machine_info
short_description: How machines are, and what they are to be
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Asks the State API for all machines that its registry has or that have reported, for some by name, or for
    those that all the given filters leave.
extends_documentation_fragment:
  - kubestead.homelab.attributes
  - kubestead.homelab.attributes.reads
  - kubestead.homelab.state_api
  - kubestead.homelab.state_api.module
options:
  machines:
    description: These alone, by MAC address or host name. One that the API does not know is an error.
    type: list
    elements: str
  states:
    description: Those in one of these states.
    type: list
    elements: str
    choices:
      - discovered
      - approved
      - install_pending
      - installing
      - installed
      - provisioning
      - ready
      - failed
      - retired
      - rescue
  roles:
    description: Those with one of these roles.
    type: list
    elements: str
  features:
    description: Those that are to offer all of these.
    type: list
    elements: str
  clusters:
    description: Those of one of these clusters.
    type: list
    elements: str
  registered:
    description: Those that are in the registry, or those that are not.
    type: bool
  locked:
    description: Those that are locked, or those that are not.
    type: bool
  events:
    description: How many of the latest events of each machine to give along.
    type: int
    default: 0
seealso:
  - ref: kubestead.homelab.machine lookup <ansible_collections.kubestead.homelab.machine_lookup>
    description: What the registry says of one machine.
"""

EXAMPLES = r"""
- name: Which workers are not well
  kubestead.homelab.machine_info:
    roles: [worker]
    states: [failed]
    events: 5
  delegate_to: localhost
  run_once: true
  register: found

- name: Show them
  ansible.builtin.debug:
    msg: "{{ item.hostname }}: {{ item.error }}"
  loop: "{{ found.machines }}"
"""

RETURN = r"""
machines:
  description:
    - The machines, in the order of the registry; those that are not in it come last.
    - With O(events), each has its latest C(events), the newest first.
  returned: always
  type: list
  elements: dict
  sample:
    - mac: 52:54:00:77:00:23
      hostname: worker-3
      role: worker
      state: ready
      phase: validate
      progress: 100
      locked: false
      registered: true
      version: 4
"""

from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils.lifecycle import STATES
from ansible_collections.kubestead.homelab.plugins.module_utils.state_api_machines import (
    UnknownMachineError,
    find_mac,
)
from ansible_collections.kubestead.homelab.plugins.module_utils.state_api_module import connected, with_api

_LISTS = {"states": "state", "roles": "role", "clusters": "cluster"}


def passes(view: Mapping[str, Any], params: Mapping[str, Any]) -> bool:
    """Whether a machine is one of those that the filters leave."""
    for option, key in _LISTS.items():
        if params[option] is not None and view.get(key) not in params[option]:
            return False
    for key in ("registered", "locked"):
        if params[key] is not None and bool(view.get(key)) != params[key]:
            return False
    return set(params["features"] or ()) <= set(view.get("features") or ())


def main() -> None:
    """Ask and choose."""
    module = AnsibleModule(
        argument_spec=with_api(
            machines={"type": "list", "elements": "str"},
            states={"type": "list", "elements": "str", "choices": list(STATES)},
            roles={"type": "list", "elements": "str"},
            features={"type": "list", "elements": "str"},
            clusters={"type": "list", "elements": "str"},
            registered={"type": "bool"},
            locked={"type": "bool"},
            events={"type": "int", "default": 0},
        ),
        supports_check_mode=True,
    )
    names = module.params["machines"]
    with connected(module) as client:
        views = client.machines()
        macs = list(views if names is None else dict.fromkeys(find_mac(views, name) for name in names))
        unknown = [mac for mac in macs if mac not in views]
        if unknown:
            raise UnknownMachineError(f"the State API knows no machine {', '.join(unknown)}")
        found = [dict(views[mac]) for mac in macs if passes(views[mac], module.params)]
        for view in found if module.params["events"] > 0 else ():
            view["events"] = client.events(mac=view["mac"], limit=module.params["events"])
    module.exit_json(changed=False, machines=found)


if __name__ == "__main__":
    main()
