#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: state_api_service
short_description: Let the State API run as it is installed, and verify that it answers
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Enables and starts the unit, and starts it anew where the process that runs is not the one that the unit
    file and the token file ask for. So a run that was interrupted between the two is finished by the next.
  - Waits for C(/healthz), then reads C(/api/states) with the token. All of it in one round trip.
  - The unit file sets C(KUBESTEAD_UNIT_REVISION), which differs whenever the unit does.
extends_documentation_fragment:
  - kubestead.homelab.attributes
  - kubestead.homelab.attributes.changes
options:
  unit:
    description: The unit's name.
    type: str
    default: machine-state-api.service
  revision:
    description: What the process that runs must have in its environment as C(KUBESTEAD_UNIT_REVISION).
    type: str
    required: true
  url:
    description: Where the API answers on this host.
    type: str
    default: http://127.0.0.1:8080
  token_file:
    description: The file on this host that holds the token.
    type: path
    default: /etc/kubestead/state-api.token
  timeout:
    description: How many seconds it may take until the API answers.
    type: int
    default: 60
"""

EXAMPLES = r"""
- name: The State API answers
  kubestead.homelab.state_api_service:
    revision: "{{ unit | hash('sha256') }}"
"""

RETURN = r"""
actions:
  description: What was, or in check mode would be, done to the unit.
  returned: always
  type: list
  elements: str
  sample: [daemon-reload, enable, restart]
version:
  description: The version of the program that answers.
  returned: when the API answers
  type: str
registry:
  description: Whether the registry on the host is V(ok), V(missing) or V(invalid).
  returned: when the API answers
  type: str
machines:
  description: How many machines the registry in force has.
  returned: when the API answers
  type: int
"""

import json
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils.state_api_client import (
    StateApiClient,
    StateApiError,
    StateApiRefusedError,
    read_token,
)

REVISION = "KUBESTEAD_UNIT_REVISION="
UNAUTHORIZED = 401


class Service:
    """The unit on this host."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.unit: str = module.params["unit"]
        self.actions: list[str] = []

    def systemctl(self, *words: str) -> None:
        """Run systemctl; where it fails, end with what the unit said last."""
        code, _out, err = self.module.run_command(["systemctl", *words])
        if code:
            self.fail(f"systemctl {' '.join(words)} failed: {err.strip()}")

    def needed(self) -> "list[str]":
        """What has to be done before the unit runs as its file says."""
        if not self.module.get_bin_path("systemctl"):
            self.fail("The State API runs under systemd, which this host does not have.")
        names = "ActiveState,MainPID,UnitFileState,NeedDaemonReload"
        _code, out, _err = self.module.run_command(
            ["systemctl", "show", self.unit, f"--property={names}"], check_rc=True
        )
        shown = dict(line.split("=", 1) for line in out.splitlines() if "=" in line)
        actions = []
        if shown.get("UnitFileState") != "enabled":
            actions.append("enable")
        if shown.get("ActiveState") != "active":
            actions.append("start")
        elif self._runs(shown.get("MainPID", "0")) != self.module.params["revision"]:
            actions.append("restart")
        # systemd tells by the file's time whether it has read it, which a clock that was set back belies.
        reload_first = actions or shown.get("NeedDaemonReload") == "yes"
        return ["daemon-reload", *actions] if reload_first else []

    def act(self, actions: "list[str]") -> None:
        """Do, or in check mode note, what is needed."""
        self.actions += actions
        if self.module.check_mode:
            return
        for action in actions:
            self.systemctl(*([action] if action == "daemon-reload" else [action, self.unit]))

    def wait(self) -> "dict[str, Any]":
        """What /healthz says, as soon as it says something good."""
        deadline = time.monotonic() + self.module.params["timeout"]
        client = StateApiClient(self.module.params["url"])
        while True:
            try:
                health: dict[str, Any] = client.request("GET", "/healthz")
            except StateApiError as error:
                if time.monotonic() >= deadline:
                    self.fail(f"The State API is not well: {error}.")
                time.sleep(0.2)
            else:
                return health

    def opens(self) -> bool:
        """Whether the token in the file opens the API."""
        try:
            StateApiClient(self.module.params["url"], read_token(self.module.params["token_file"])).states()
        except StateApiRefusedError as error:
            if error.status == UNAUTHORIZED:
                return False
            self.fail(f"The State API cannot be read: {error}.")
        except StateApiError as error:
            self.fail(f"The State API cannot be read: {error}.")
        return True

    def fail(self, message: str) -> None:
        """End with what the program said last that was no good news."""
        journal = ["journalctl", f"_SYSTEMD_UNIT={self.unit}", "-n", "20", "-o", "cat", "--no-pager"]
        _code, out, _err = self.module.run_command(journal)
        said = [text for text in map(_bad_news, out.splitlines()) if text]
        self.module.fail_json(msg="\n".join([message, *said]), actions=self.actions)

    def _runs(self, pid: str) -> str:
        try:
            entries = Path("/proc", pid, "environ").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            return ""
        return next((entry[len(REVISION) :] for entry in entries if entry.startswith(REVISION)), "")


def _bad_news(line: str) -> str:
    """A line of the journal without its trimmings, where it may tell why something failed."""
    try:
        entry = json.loads(line)
        return f"{entry['level']} {entry['message']}" if entry["level"] in ("WARN", "ERROR") else ""
    except (ValueError, KeyError, TypeError):
        return line  # no log line of ours: Python's, or systemd's


def main() -> None:
    """Probe, converge, verify, tell."""
    module = AnsibleModule(
        argument_spec={
            "unit": {"type": "str", "default": "machine-state-api.service"},
            "revision": {"type": "str", "required": True},
            "url": {"type": "str", "default": "http://127.0.0.1:8080"},
            "token_file": {"type": "path", "default": "/etc/kubestead/state-api.token", "no_log": False},
            "timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    service = Service(module)
    service.act(service.needed())
    health: dict[str, Any] = {}
    if not (module.check_mode and service.actions):
        health = service.wait()
        if not service.opens():
            # The token's file has changed under the process, which reads it at its start.
            if "start" in service.actions or "restart" in service.actions:
                service.fail(f"The State API refuses the token in {module.params['token_file']}.")
            service.act(["restart"])
            if not module.check_mode:
                health = service.wait()
                if not service.opens():
                    service.fail(f"The State API refuses the token in {module.params['token_file']}.")
    result: dict[str, Any] = {"changed": bool(service.actions), "actions": service.actions}
    result.update({key: health[key] for key in ("version", "registry", "machines") if key in health})
    if module._diff and service.actions:
        result["diff"] = {
            "before": "",
            "after": f"{', '.join(service.actions)}\n",
        }
    module.exit_json(**result)


if __name__ == "__main__":
    main()
