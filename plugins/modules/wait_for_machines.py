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
  - Ends early, and fails, as soon as one of them is C(failed) or C(retired), unless that is waited for or
    O(grace) is set; it then says which and why. When the time is over it says which are not there yet and
    what each said last.
  - A stream that breaks, because the API is started anew, is opened again without missing anything.
  - In check mode it looks once and does not wait.
  - Where it runs on the controller it tells a line when a machine enters a state or a phase, and now and then
    when its share has grown, so that a person sees what goes on. No terminal is needed.
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
  installed_phase:
    description:
      - A machine that is C(installed) counts only when it has reported this phase; in C(first-boot) the
        installed system reports itself.
    type: str
    version_added: 0.2.0
  grace:
    description:
      - Goes on waiting for the others when a machine fails. One that fails has so many seconds to begin anew,
        which the next attempt of an installation does; one that had failed before has all the time there is.
    type: int
    version_added: 0.2.0
  progress:
    description: Whether to tell what goes on.
    type: bool
    default: true
    version_added: 0.2.0
  interval:
    description: The least number of seconds between two lines about one machine in one phase.
    type: float
    default: 5
    version_added: 0.2.0
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
installations:
  description: The installation that each machine has completed, by MAC address.
  returned: always
  type: dict
  sample: {"52:54:00:77:00:23": "0b3f6a5e"}
reasons:
  description: Why each of RV(missing) is not there, in a sentence, by MAC address.
  returned: always
  type: dict
  sample: {"52:54:00:77:00:23": "worker-3 failed in phase disk: the disk /dev/vda is not empty."}
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils.state_api_module import connected, with_api
from ansible_collections.kubestead.homelab.plugins.module_utils.waiting import OPTIONS, begin, outcome, wait


def main() -> None:
    """Find the machines, wait, tell."""
    module = AnsibleModule(
        argument_spec=with_api(**OPTIONS),
        supports_check_mode=True,
    )
    names, states, timeout = (module.params[option] for option in ("machines", "states", "timeout"))
    how = {option: module.params[option] for option in ("installed_phase", "grace")}
    deadline = time.monotonic() + timeout
    with connected(module) as client:
        watch, last_id = begin(client, names, states, **how)
        if not module.check_mode:
            wait(client, watch, deadline, last_id)
    verdict = watch.verdict(timeout)
    if verdict and not module.check_mode:
        module.fail_json(msg=verdict, **outcome(watch, timeout))
    module.exit_json(**outcome(watch, timeout))


if __name__ == "__main__":
    main()
