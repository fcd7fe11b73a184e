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
    file and the files of its secrets ask for. So a run that was interrupted between the two is finished by
    the next.
  - Waits for C(/healthz), then reads C(/api/states) with the token. All of it in one round trip.
  - Lets the service read its certificate again where it shows another than the file holds.
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
  ca_file:
    description: The file on this host with the authority that the API's certificate is verified with.
    type: path
  certificate:
    description: The file on this host with the certificate that the API has to show.
    type: path
  credentials:
    description:
      - The files on this host that systemd hands to the service as secrets, by the names that it gives them.
        Where the process has others, it is started anew. An empty file name stands for none.
    type: dict
    default: {}
  renewal:
    description: Whether the timer that renews the certificate is to run.
    type: bool
    default: false
  renewal_unit:
    description: That timer's name.
    type: str
    default: machine-state-api-renewal.timer
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
import ssl
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils.host import read_text
from ansible_collections.kubestead.homelab.plugins.module_utils.state_api_client import (
    StateApiClient,
    StateApiError,
    read_token,
)

REVISION = "KUBESTEAD_UNIT_REVISION="


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
        """What has to be done before the units run as their files say."""
        if not self.module.get_bin_path("systemctl"):
            self.fail("The State API runs under systemd, which this host does not have.")
        names = "ActiveState,MainPID,UnitFileState,NeedDaemonReload"
        timer = self.module.params["renewal_unit"]
        _code, out, _err = self.module.run_command(
            ["systemctl", "show", self.unit, timer, f"--property={names}"], check_rc=True
        )
        shown, renewal = (_properties(block) for block in out.split("\n\n"))
        actions = []
        if shown.get("UnitFileState") != "enabled":
            actions.append("enable")
        if shown.get("ActiveState") != "active":
            actions.append("start")
        elif self._runs(shown.get("MainPID", "0")) != self.module.params["revision"] or self._is_outdated():
            actions.append("restart")
        runs = (renewal.get("UnitFileState"), renewal.get("ActiveState")) == ("enabled", "active")
        if self.module.params["renewal"]:
            actions += [] if runs else ["enable --now"]
        elif renewal.get("UnitFileState") == "enabled" or renewal.get("ActiveState") == "active":
            actions.append("disable --now")
        # systemd tells by the file's time whether it has read it, which a clock that was set back belies.
        reload_first = actions or "yes" in (shown.get("NeedDaemonReload"), renewal.get("NeedDaemonReload"))
        return ["daemon-reload", *actions] if reload_first else []

    def act(self, actions: "list[str]") -> None:
        """Do, or in check mode note, what is needed."""
        self.actions += actions
        if self.module.check_mode:
            return
        for action in actions:
            words = action.split()
            if action != "daemon-reload":
                words.append(self.module.params["renewal_unit"] if "--now" in words else self.unit)
            self.systemctl(*words)

    def wait(self) -> "dict[str, Any]":
        """What /healthz says, as soon as it says something good."""
        deadline = time.monotonic() + self.module.params["timeout"]
        while True:
            try:
                client = StateApiClient(self.module.params["url"], ca_file=self.module.params["ca_file"])
                health: dict[str, Any] = client.health()
            except StateApiError as error:
                if time.monotonic() >= deadline:
                    self.fail(f"The State API is not well: {error}.")
                time.sleep(0.2)
            else:
                return health

    def verify_token(self) -> None:
        """Read states with the token in the file."""
        given = self.module.params
        try:
            token = read_token(given["token_file"])
            StateApiClient(given["url"], token, ca_file=given["ca_file"]).states()
        except StateApiError as error:
            self.fail(f"The State API cannot be read with the token in {given['token_file']}: {error}.")

    def shows_its_certificate(self) -> bool:
        """Whether the process shows the certificate that is in the file."""
        path = self.module.params["certificate"]
        if not path:
            return True
        parts = urlsplit(self.module.params["url"])
        shown = ssl.get_server_certificate((parts.hostname or "", parts.port or 443))
        return _first_certificate(Path(path).read_text(encoding="ascii")) == _first_certificate(shown)

    def wait_for_its_certificate(self) -> None:
        """Until the process shows the certificate that is in the file."""
        deadline = time.monotonic() + self.module.params["timeout"]
        while not self.shows_its_certificate():
            if time.monotonic() >= deadline:
                self.fail(
                    f"The State API does not show the certificate in {self.module.params['certificate']}."
                )
            time.sleep(0.2)

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

    def _is_outdated(self) -> bool:
        """Whether a secret of the process is not the one in its file any more."""
        handed = Path("/run/credentials", self.unit)
        return any(
            read_text(handed / name) != read_text(Path(source))
            for name, source in self.module.params["credentials"].items()
            if source
        )


def _properties(block: str) -> "dict[str, str]":
    return dict(line.split("=", 1) for line in block.splitlines() if "=" in line)


def _first_certificate(text: str) -> bytes:
    end = "-----END CERTIFICATE-----"
    return ssl.PEM_cert_to_DER_cert(f"{text.partition(end)[0]}{end}\n")


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
            "ca_file": {"type": "path"},
            "certificate": {"type": "path"},
            "credentials": {"type": "dict", "default": {}},
            "renewal": {"type": "bool", "default": False},
            "renewal_unit": {"type": "str", "default": "machine-state-api-renewal.timer"},
            "timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    service = Service(module)
    service.act(service.needed())
    health: dict[str, Any] = {}
    if not (module.check_mode and service.actions):
        health = service.wait()
        service.verify_token()
        if not service.shows_its_certificate():
            service.act(["reload"])
            if not module.check_mode:
                service.wait_for_its_certificate()
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
