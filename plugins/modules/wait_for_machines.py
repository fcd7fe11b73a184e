#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wait_for_machines
short_description: Wait until machines are installed, ready or in another state
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Waits for any number of machines in one call, by the State API's event stream, so that it ends in the
    moment in which the last of them is there.
  - Ends early, and fails, as soon as one of them is C(failed) or C(retired), unless that is waited for; it
    then says which and why. When the time is over it says which are not there yet and what each said last.
  - A stream that breaks, because the API is started anew, is opened again without missing anything.
  - In check mode it looks once and does not wait.
extends_documentation_fragment:
  - kubestead.homelab.attributes
  - kubestead.homelab.attributes.reads
  - kubestead.homelab.state_api
  - kubestead.homelab.state_api.module
options:
  machines:
    description:
      - The machines, by MAC address or host name.
      - A MAC address may be one that nobody has seen yet; a host name has to be in the API's registry.
    type: list
    elements: str
    required: true
  states:
    description: The states of which one is waited for. A machine that passes through one counts as there.
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
    default: [ready]
  timeout:
    description: How many seconds that may take.
    type: int
    default: 3600
seealso:
  - module: kubestead.homelab.machine_state
"""

EXAMPLES = r"""
- name: All machines of the play are installed
  kubestead.homelab.wait_for_machines:
    machines: "{{ ansible_play_hosts }}"
    states: [installed, provisioning, ready]
    timeout: 5400
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
machines:
  description: Each machine as the State API has it, by MAC address.
  returned: always
  type: dict
  sample: {"52:54:00:77:00:23": {"hostname": "worker-3", "state": "ready", "phase": "validate"}}
missing:
  description: Host names, or where there is none MAC addresses, of those that are not in one of the states.
  returned: always
  type: list
  elements: str
  sample: []
failed_machines:
  description: Those of RV(missing) that ended it early.
  returned: always
  type: list
  elements: str
  sample: []
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils.lifecycle import READY, STATES
from ansible_collections.kubestead.homelab.plugins.module_utils.state_api_machines import called, find_mac
from ansible_collections.kubestead.homelab.plugins.module_utils.state_api_module import connected, with_api
from ansible_collections.kubestead.homelab.plugins.module_utils.waiting import Watch, wait


def main() -> None:
    """Find the machines, wait, tell."""
    module = AnsibleModule(
        argument_spec=with_api(
            machines={"type": "list", "elements": "str", "required": True},
            states={"type": "list", "elements": "str", "choices": list(STATES), "default": [READY]},
            timeout={"type": "int", "default": 3600},
        ),
        supports_check_mode=True,
    )
    deadline = time.monotonic() + module.params["timeout"]
    with connected(module) as client:
        newest = client.events(limit=1)
        views = client.machines()
        macs = list(dict.fromkeys(find_mac(views, name) for name in module.params["machines"]))
        watch = Watch(macs, module.params["states"])
        watch.learn(views)
        if not module.check_mode:
            wait(client, watch, deadline, newest[0]["id"] if newest else 0)
    result: dict[str, Any] = {
        "changed": False,
        "machines": watch.views,
        "missing": [called(mac, watch.views.get(mac)) for mac in watch.missing],
        "failed_machines": [called(mac, watch.views.get(mac)) for mac in watch.hopeless],
    }
    verdict = watch.verdict(module.params["timeout"])
    if verdict and not module.check_mode:
        module.fail_json(msg=verdict, **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
