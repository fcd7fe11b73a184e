#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: machine_state
short_description: Report how a machine is, or approve, lock, install, rescue or retire it
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - With O(state), reports to the State API how a machine is. A report replaces the one before; the status of
    features stays until a report names them again.
  - With O(action), does what an operator does to a machine.
  - It changes something only where the API's record changes. A report that says what the record says already
    is not sent, so it does not renew the state's deadline either; a new O(progress) or O(msg) does.
  - What the lifecycle of machines does not allow is refused, in check mode too.
extends_documentation_fragment:
  - kubestead.homelab.attributes
  - kubestead.homelab.attributes.changes
  - kubestead.homelab.state_api
  - kubestead.homelab.state_api.module
options:
  machine:
    description:
      - The machine, by MAC address in any notation, or by host name.
      - A MAC address may be one that nobody has seen yet; a host name has to be in the API's registry.
    type: str
    required: true
  state:
    description: The state that the machine is in.
    type: str
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
  phase:
    description: What is being done, such as C(prepare).
    type: str
  progress:
    description: How far it is, in percent.
    type: int
  msg:
    description: What it says, the C(message) of the report.
    type: str
  error:
    description: Why it failed.
    type: str
  features:
    description: The status of features by name, such as V(ready) for C(kubernetes).
    type: dict
  action:
    description:
      - V(approve) lets a machine be installed, V(retire) takes it out of use, V(lock) keeps the installer
        from it whatever else happens, V(unlock) ends that.
      - V(install) has a machine without a system installed when it boots from the network next. Its disk
        has to be empty. One that is being installed is left alone.
      - V(rescue) has it boot once into a small system in memory; its disk is not touched.
      - V(reinstall) has it installed anew when it boots from the network next. All of its data is lost. It
        needs O(hostname). One that waits to be installed already is left alone.
    type: str
    choices: [approve, install, lock, reinstall, rescue, retire, unlock]
  hostname:
    description:
      - For O(action=reinstall), the machine's host name, so that no slip of the finger reinstalls another.
    type: str
  version:
    description:
      - For O(action), the C(version) of the machine on which it was decided. When somebody has changed the
        machine since, the action is refused.
    type: int
seealso:
  - module: kubestead.homelab.wait_for_machines
  - module: kubestead.homelab.machine_info
"""

EXAMPLES = r"""
- name: Tell how far it is
  kubestead.homelab.machine_state:
    machine: "{{ machine_mac }}"
    state: provisioning
    phase: storage
    progress: 60
    msg: the pool is being made
  delegate_to: localhost

- name: Install the machine anew, all of its data is lost
  kubestead.homelab.machine_state:
    machine: worker-3
    action: reinstall
    hostname: worker-3
  delegate_to: localhost

- name: Keep the installer from the machine that holds the data
  kubestead.homelab.machine_state:
    machine: 52:54:00:77:00:41
    action: lock
  delegate_to: localhost
"""

RETURN = r"""
machine:
  description: The machine as the State API has it afterwards, or in check mode would have it.
  returned: success
  type: dict
  sample:
    mac: 52:54:00:77:00:23
    hostname: worker-3
    state: provisioning
    phase: storage
    progress: 60
    locked: false
    version: 5
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils.lifecycle import (
    ACTIONS,
    STATES,
    TransitionError,
)
from ansible_collections.kubestead.homelab.plugins.module_utils.state_api_client import (
    StateApiClient,
    StateApiError,
    StateApiRefusedError,
)
from ansible_collections.kubestead.homelab.plugins.module_utils.state_api_machines import called, find_mac
from ansible_collections.kubestead.homelab.plugins.module_utils.state_api_module import connected, with_api
from ansible_collections.kubestead.homelab.plugins.module_utils.state_change import (
    REPORTED,
    after_action,
    after_report,
    shown,
)

NOT_FOUND = 404


def look(client: StateApiClient, mac: str) -> "dict[str, Any]":
    """A machine; one that the API has never heard of is discovered by the report."""
    try:
        view: dict[str, Any] = client.machine(mac)
    except StateApiRefusedError as error:
        if error.status != NOT_FOUND:
            raise
        return {"mac": mac, "registered": False, "version": 0}
    return view


def reported(module: AnsibleModule, client: StateApiClient, before: "dict[str, Any]") -> "dict[str, Any]":
    """Report, if it says something new; the machine afterwards."""
    options = {"message": "msg"}  # Ansible keeps the name message to itself
    report = {name: module.params[options.get(name, name)] for name in (*REPORTED, "features")}
    after = after_report(before, report)
    if shown(after) == shown(before) or module.check_mode:
        return after
    client.report_state(before["mac"], **report)
    return look(client, before["mac"])


def acted(module: AnsibleModule, client: StateApiClient, before: "dict[str, Any]") -> "dict[str, Any]":
    """Act, if there is something to do; the machine afterwards."""
    action, version, hostname = (module.params[name] for name in ("action", "version", "hostname"))
    name = called(before["mac"], before)
    if version is not None and version != before.get("version"):
        raise StateApiError(
            f"{name} has changed since: it is version {before.get('version')} now, not {version}. "
            "Look at it again, then decide"
        )
    if action == "reinstall" and hostname.lower() != name:
        raise StateApiError(f"{module.params['machine']} is {name}, not {hostname}. Nothing was changed")
    after = after_action(before, action)
    if shown(after) == shown(before) or module.check_mode:
        return after
    # What was looked at is what is acted on: should somebody come between, the API refuses.
    done: dict[str, Any] = client.act(
        before["mac"],
        action,
        version=before.get("version"),
        hostname=hostname if action == "reinstall" else None,
    )
    return done


def main() -> None:
    """Look, compare, report or act, tell."""
    module = AnsibleModule(
        argument_spec=with_api(
            machine={"type": "str", "required": True},
            state={"type": "str", "choices": list(STATES)},
            phase={"type": "str"},
            progress={"type": "int"},
            msg={"type": "str"},
            error={"type": "str"},
            features={"type": "dict"},
            action={"type": "str", "choices": sorted(ACTIONS)},
            hostname={"type": "str"},
            version={"type": "int"},
        ),
        mutually_exclusive=[["state", "action"]],
        required_one_of=[["state", "action"]],
        required_if=[["action", "reinstall", ["hostname"]]],
        required_by={
            **dict.fromkeys(("phase", "progress", "msg", "error", "features"), "state"),
            "hostname": "action",
            "version": "action",
        },
        supports_check_mode=True,
    )
    with connected(module) as client:
        before = look(client, find_mac(client.machines(), module.params["machine"]))
        try:
            after = (reported if module.params["state"] else acted)(module, client, before)
        except TransitionError as error:
            raise StateApiError(f"{called(before['mac'], before)}: {error}. Nothing was changed") from None
    changed = shown(after) != shown(before)
    result: dict[str, Any] = {"changed": changed, "machine": after}
    if module._diff and changed:
        result["diff"] = {"before": shown(before), "after": shown(after)}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
