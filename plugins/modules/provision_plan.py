#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: provision_plan
short_description: Decide which machines are installed, switched on or left alone
version_added: 0.2.0
author: Kubestead contributors (@kubestead)
description:
  - Compares what the State API knows of machines with how they answered to SSH, and says what is to be done
    with each. It does nothing itself.
  - Never are to be installed a machine that answers, one that is locked, and one of which was heard before
    that it has a system.
extends_documentation_fragment:
  - kubestead.homelab.attributes
  - kubestead.homelab.attributes.reads
  - kubestead.homelab.state_api
  - kubestead.homelab.state_api.module
options:
  machines:
    description: The machines, by the name that they have in the inventory.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The name.
        type: str
        required: true
      mac:
        description: The MAC address.
        type: str
        required: true
      entry:
        description: What the registry says of it, to tell where it is and how it is switched on.
        type: dict
        default: {}
      seen:
        description: The result of M(kubestead.homelab.machine_answers) on it.
        type: dict
        default: {}
  install:
    description: Which may be installed, V(new) for all that are new, V(none), or a list of names.
    type: raw
    default: new
"""

EXAMPLES = r"""
- name: What is to be done
  kubestead.homelab.provision_plan:
    machines:
      - name: worker-3
        mac: 52:54:00:77:00:23
        seen: "{{ hostvars['worker-3'].seen }}"
  delegate_to: localhost
  register: plan
"""

RETURN = r"""
ask:
  description: The names of those of which an installation is to be asked for.
  returned: success
  type: list
  elements: str
install:
  description: Those that are to boot the installer, those of RV(ask) and those that were asked for before.
  returned: success
  type: list
  elements: str
start:
  description: Those that have a system and do not answer.
  returned: success
  type: list
  elements: str
wait:
  description: Those of RV(install), and those that are being installed or boot for the first time now.
  returned: success
  type: list
  elements: str
reached:
  description: Those that answer.
  returned: success
  type: list
  elements: str
settled:
  description: Those of RV(reached) and RV(start) that were at work before.
  returned: success
  type: list
  elements: str
installations:
  description: The installation that each has completed, by MAC address.
  returned: success
  type: dict
left:
  description: Those that are left alone, each with the reason.
  returned: success
  type: dict
writes:
  description: A line for each machine whose disk will be written.
  returned: success
  type: list
  elements: str
buttons:
  description: A line for each machine that a person has to switch on.
  returned: success
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils.mac import normalise_mac
from ansible_collections.kubestead.homelab.plugins.module_utils.provisioning import (
    button,
    installations,
    plan,
    write_line,
)
from ansible_collections.kubestead.homelab.plugins.module_utils.state_api_module import connected, with_api


def main() -> None:
    """Ask, decide, tell."""
    module = AnsibleModule(
        argument_spec=with_api(
            machines={
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "mac": {"type": "str", "required": True},
                    "entry": {"type": "dict", "default": {}},
                    "seen": {"type": "dict", "default": {}},
                },
            },
            install={"type": "raw", "default": "new"},
        ),
        supports_check_mode=True,
    )
    machines = {one["name"]: one for one in module.params["machines"]}
    macs = {name: normalise_mac(one["mac"]) for name, one in machines.items()}
    with connected(module) as client:
        views = client.machines()
    seen = {name: one["seen"] for name, one in machines.items()}
    try:
        made = plan(macs, views, seen, module.params["install"])
    except ValueError as error:
        module.fail_json(msg=f"{error}.")
    by_hand = [name for name in made.install + made.start if not (machines[name]["entry"].get("bmc") or {})]
    module.exit_json(
        changed=False,
        **made.as_dict(),
        installations=installations({mac: views[mac] for mac in macs.values() if mac in views}),
        writes=[write_line(name, views[macs[name]], machines[name]["entry"]) for name in made.install],
        buttons=[
            button(name, views[macs[name]], machines[name]["entry"], name in made.install, seen[name])
            for name in by_hand
        ],
    )


if __name__ == "__main__":
    main()
