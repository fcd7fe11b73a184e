#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: container_runtime
short_description: A container runtime that runs with its present configuration and answers
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Writes the runtime's configuration, makes its systemd unit whole where that is broken, runs it now and at
    boot, and makes two real calls (C(Version), C(Status)) at its socket. All of it in one round trip.
  - The runtime is started anew when a file of O(files) was written after it had started, also by an earlier
    run that was cut off in between, and once when it does not answer. Pods live on meanwhile.
  - Nothing is touched unless every file that has a O(files[].validate) command passes it.
  - A unit that is masked, cannot be loaded or starts a program that does not exist is repaired. What shadowed
    the package's unit is kept beside it under another name; where that is broken too, O(unit_text) takes its
    place.
extends_documentation_fragment:
  - kubestead.homelab.attributes
  - kubestead.homelab.attributes.changes
options:
  unit:
    description: The runtime's systemd unit.
    type: str
    required: true
  unit_text:
    description: A unit that works, for the case that the package's own is broken.
    type: str
    required: true
  socket:
    description: Where the runtime listens; C(unix://) before it is accepted.
    type: str
    required: true
  files:
    description: The configuration, owned by root.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Where it goes.
        type: path
        required: true
      content:
        description: Its whole text.
        type: str
        required: true
      mode:
        description: Its permissions, as an octal text.
        type: str
        default: "0644"
      keep:
        description: Another program writes it too, so that it is left alone where it is there already.
        type: bool
        default: false
      secret:
        description: Its text is kept out of differences.
        type: bool
        default: false
      validate:
        description: A command that says whether the new text is right, with C(%s) for a file with it.
        type: str
      validate_text:
        description: The text that is checked in the place of O(files[].content).
        type: str
      validate_in:
        description: The folder for that file.
        type: path
  prune:
    description: Folders in which files of ours that are not in O(files) are removed.
    type: list
    elements: path
    default: []
  read_later:
    description: Files, or folders, that the runtime reads when it needs them, so that it need not be started
      anew for them.
    type: list
    elements: path
    default: []
  aside:
    description: Files of the package that must not be in force; they are kept under another name.
    type: list
    elements: path
    default: []
  wait:
    description: How many seconds it may take to become ready.
    type: int
    default: 60
"""

EXAMPLES = r"""
- name: containerd runs and answers
  kubestead.homelab.container_runtime:
    unit: containerd.service
    unit_text: "{{ lookup('ansible.builtin.template', 'containerd.service.j2') }}"
    socket: /run/containerd/containerd.sock
    files:
      - path: /etc/containerd/config.toml
        content: "{{ lookup('ansible.builtin.template', 'config.toml.j2') }}"
        validate: containerd -c %s config dump
    prune: [/etc/containerd/certs.d]
    read_later: [/etc/containerd/certs.d]
"""

RETURN = r"""
changes:
  description: What was, or in check mode would be, changed.
  returned: always
  type: list
  elements: str
repaired:
  description: What was wrong with the unit. Empty when nothing was.
  returned: always
  type: str
name:
  description: The runtime's name.
  returned: when it answers
  type: str
  sample: containerd
version:
  description: The runtime's version.
  returned: when it answers
  type: str
  sample: 1.7.24~ds1
conditions:
  description: Its conditions. C(NetworkReady) comes with the pod network.
  returned: when it answers
  type: dict
  sample: {RuntimeReady: true, NetworkReady: false}
"""

import time
from pathlib import Path
from typing import Any, Sequence

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils import cri, runtime_unit
from ansible_collections.kubestead.homelab.plugins.module_utils.file_set import (
    FILE_OPTIONS,
    MARKER,
    FileSet,
)
from ansible_collections.kubestead.homelab.plugins.module_utils.grpc_unary import GrpcError

POLL_SECONDS = 0.2
# How long one that ran before may take to answer until it is started anew.
PATIENCE_SECONDS = 15


class Runtime:
    """The runtime of this machine, on its way to what is asked for."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module, self.given = module, module.params
        self.unit_name: str = self.given["unit"]
        self.socket: str = self.given["socket"].replace("unix://", "")
        self.changes: list[str] = []
        self.repaired = ""
        self.started = False
        self.files = FileSet(module, self.given["files"], self.given["prune"], MARKER)
        if self.files.problems:
            self.fail("\n".join([*self.files.problems, "Nothing was changed."]))

    def run(self, command: "Sequence[str]") -> "tuple[int, str, str]":
        code, out, err = self.module.run_command(list(command))
        return code, out, err

    def fail(self, sentence: str) -> None:
        self.module.fail_json(
            msg=sentence, changed=bool(self.changes), changes=self.changes, repaired=self.repaired
        )

    def do(self, *words: str) -> None:
        """Have systemd do it, unless in check mode."""
        if self.module.check_mode:
            return
        code, out, err = self.run(["systemctl", *words])
        if code != 0:
            told = (err or out).strip()
            said = runtime_unit.last_words(self.run, self.unit_name)
            self.fail(f"systemctl {' '.join(words)}: {told}. It last said: {said or 'nothing'}.")

    def settle_files(self) -> None:
        self.changes += self.files.paths
        self.files.write()
        for path in (Path(name) for name in self.given["aside"]):
            if path.is_file():
                self.changes.append(f"{path} put aside")
                if not self.module.check_mode:
                    runtime_unit.put_aside(path)

    def settle_unit(self) -> None:
        """Whole, at boot, running, and with its present configuration."""
        unit = runtime_unit.show(self.run, self.unit_name)
        told = any("/etc/systemd/" in path for path in self.files.paths)
        if told or unit.needs_reload or unit.unread(self.unit_name):
            self.do("daemon-reload")
            unit = unit if self.module.check_mode else runtime_unit.show(self.run, self.unit_name)
        wrong = unit.broken()
        if self.module.check_mode and unit.load == "not-found":
            wrong = ""  # it comes with the package
        if wrong:
            self.repaired = wrong
            self.changes.append(f"{self.unit_name}: {wrong}")
            if not self.module.check_mode:
                unit = runtime_unit.repair(self.run, self.unit_name, unit, self.given["unit_text"])
                if unit.broken():
                    self.fail(
                        f"{self.unit_name} cannot be repaired: {unit.broken()}. Is its package installed?"
                    )
        if not unit.enabled:
            self.changes.append(f"{self.unit_name} at boot")
            self.do("enable", self.unit_name)
        paths = [entry["path"] for entry in self.given["files"]]
        later = tuple(self.given["read_later"])
        newer = "" if wrong else unit.older_than([path for path in paths if not path.startswith(later)])
        if not unit.running:
            self.changes.append(f"{self.unit_name} started")
        elif newer or wrong:
            self.changes.append(f"{self.unit_name} started anew, for {newer or wrong}")
        elif not any(not path.startswith(later) for path in self.files.paths):
            return
        # Who has failed too often is not started any more until that is forgotten.
        if unit.active == "failed":
            self.do("reset-failed", self.unit_name)
        self.do("restart", self.unit_name)
        self.started = True

    def ask(self, seconds: float) -> "tuple[cri.Runtime | None, str]":
        """What it says, once it is ready; else a sentence."""
        end = time.monotonic() + seconds
        while True:
            try:
                runtime = cri.ask(self.socket)
            except FileNotFoundError:
                problem = f"{self.socket} does not exist"
            except (OSError, GrpcError) as error:
                problem = f"{self.socket} does not answer as a container runtime: {error}"
            else:
                if runtime.ready:
                    return runtime, ""
                why = runtime.reasons.get("RuntimeReady", "it does not say why")
                problem = f"{runtime.name} {runtime.version} is not ready: {why}"
            if time.monotonic() >= end:
                return None, problem
            time.sleep(POLL_SECONDS)

    def verify(self) -> "dict[str, Any]":
        """It answers; one that ran and does not is started anew, once."""
        if self.module.check_mode and self.changes:
            return {}
        wait = self.given["wait"]
        found, problem = self.ask(wait if self.started else min(wait, PATIENCE_SECONDS))
        if found is None and not self.started:
            self.changes.append(f"{self.unit_name} started anew: {problem}")
            self.do("restart", self.unit_name)
            found, problem = self.ask(0 if self.module.check_mode else wait)
        if found is None:
            if self.module.check_mode:
                return {}
            said = runtime_unit.last_words(self.run, self.unit_name)
            self.fail(f"{problem}. {self.unit_name} last said: {said or 'nothing'}.")
        return {name: getattr(found, name) for name in ("name", "version", "conditions")}


def main() -> None:
    """Files, unit, socket."""
    module = AnsibleModule(
        argument_spec={
            "unit": {"type": "str", "required": True},
            "unit_text": {"type": "str", "required": True},
            "socket": {"type": "str", "required": True},
            "files": {"type": "list", "elements": "dict", "default": [], "options": FILE_OPTIONS},
            "prune": {"type": "list", "elements": "path", "default": []},
            "read_later": {"type": "list", "elements": "path", "default": []},
            "aside": {"type": "list", "elements": "path", "default": []},
            "wait": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    runtime = Runtime(module)
    runtime.settle_files()
    runtime.settle_unit()
    said = runtime.verify()
    result: dict[str, Any] = {
        "changed": bool(runtime.changes),
        "changes": runtime.changes,
        "repaired": runtime.repaired,
    }
    if module._diff:
        others = [text for text in runtime.changes if text not in runtime.files.paths]
        services = {"before_header": runtime.unit_name, "after_header": runtime.unit_name, "before": ""}
        result["diff"] = runtime.files.diff
        if others:
            result["diff"].append({**services, "after": "".join(f"{text}\n" for text in others)})
    module.exit_json(**result, **said)


if __name__ == "__main__":
    main()
