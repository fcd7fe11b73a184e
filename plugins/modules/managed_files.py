#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: managed_files
short_description: Several configuration files in one round trip
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Writes files whose content the controller has rendered, makes their folders, and removes files that
    belong to the same
    software and are no longer wanted. All of it in one round trip, however many files they are.
  - Nothing is touched unless every file that has a O(files[].validate) command passes it.
extends_documentation_fragment:
  - kubestead.homelab.attributes
  - kubestead.homelab.attributes.changes
options:
  files:
    description: The files, owned by root.
    type: list
    elements: dict
    required: true
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
        description:
          - A command that says whether the new text is right, with C(%s) where the name of a file with that
            text goes.
          - In check mode it is left out when its program is not on the machine yet.
        type: str
      validate_text:
        description:
          - The text that is checked in the place of O(files[].content), where that includes another file
            which may not be there yet.
        type: str
      validate_in:
        description:
          - The folder for that file, where AppArmor lets its program read nothing elsewhere. If it is not
            there, the usual one for temporary files.
        type: path
  prune:
    description:
      - Folders in which files that are not in O(files) are removed, if their first line contains O(marker).
      - What others have written there stays.
    type: list
    elements: path
    default: []
  marker:
    description: What the first line of a file of ours contains.
    type: str
    default: Managed by kubestead.homelab
"""

EXAMPLES = r"""
- name: Configure containerd
  kubestead.homelab.managed_files:
    files:
      - path: /etc/containerd/config.toml
        content: "{{ lookup('ansible.builtin.template', 'config.toml.j2') }}"
        validate: containerd -c %s config dump
      - path: /etc/containerd/certs.d/_default/hosts.toml
        content: "{{ lookup('ansible.builtin.template', 'hosts.toml.j2') }}"
    prune: [/etc/containerd/certs.d]
  notify: Restart containerd
"""

RETURN = r"""
paths:
  description: Files that were, or in check mode would be, written, removed or given other permissions.
  returned: always
  type: list
  elements: str
"""

import os
import shlex
import stat
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils.host import FileChange, read_text
from ansible_collections.kubestead.homelab.plugins.module_utils.write import write_text


def invalid(module: AnsibleModule, entry: "dict[str, Any]") -> str:
    """Nothing when its text passes, else a sentence."""
    command = shlex.split(entry["validate"])
    program = module.get_bin_path(command[0])
    if program is None:
        return (
            ""
            if module.check_mode
            else f"{entry['path']}: {command[0]}, which checks it, is not on this machine."
        )
    folder = entry["validate_in"] if os.path.isdir(entry["validate_in"] or "") else module.tmpdir
    handle, name = tempfile.mkstemp(dir=folder, prefix=".ansible-", suffix=os.path.basename(entry["path"]))
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(entry["validate_text"] or entry["content"])
        code, out, err = module.run_command([program, *(part.replace("%s", name) for part in command[1:])])
    finally:
        os.unlink(name)
    said = (err.strip() or out.strip()).splitlines()
    return (
        ""
        if code == 0
        else f"{entry['path']}: {command[0]} refuses it: {said[-1] if said else f'it ended with {code}'}"
    )


def mode_of(path: str) -> int:
    """A file's permissions; 0 when there is no such file."""
    try:
        return stat.S_IMODE(os.stat(path).st_mode)
    except FileNotFoundError:
        return 0


def stale(folders: "list[str]", keep: "set[str]", marker: str) -> "list[FileChange]":
    """Files of ours that are no longer wanted."""
    found = []
    for folder in folders:
        for path in sorted(Path(folder).rglob("*")):
            if str(path) in keep or not path.is_file():
                continue
            text = read_text(path) or ""
            if marker in text.partition("\n")[0]:
                found.append(FileChange(str(path), text, None))
    return found


def shown(change: FileChange, secret: bool) -> "dict[str, str]":
    """The difference, without the text of secrets."""
    before, after = change.before or "", change.after or ""
    if secret:
        before, after = before and "(not shown)\n", after and "(not shown, changed)\n"
    return {"before_header": change.path, "after_header": change.path, "before": before, "after": after}


def main() -> None:
    """Compare, validate, then write."""
    module = AnsibleModule(
        argument_spec={
            "files": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "path": {"type": "path", "required": True},
                    "content": {"type": "str", "required": True},
                    "mode": {"type": "str", "default": "0644"},
                    "secret": {"type": "bool", "default": False, "no_log": False},
                    "keep": {"type": "bool", "default": False},
                    "validate": {"type": "str"},
                    "validate_text": {"type": "str"},
                    "validate_in": {"type": "path"},
                },
            },
            "prune": {"type": "list", "elements": "path", "default": []},
            "marker": {"type": "str", "default": "Managed by kubestead.homelab"},
        },
        supports_check_mode=True,
    )
    entries: list[dict[str, Any]] = module.params["files"]
    wanted: list[tuple[dict[str, Any], FileChange]] = []
    problems: list[str] = []
    for entry in entries:
        if entry["keep"] and os.path.exists(entry["path"]):
            continue
        change = FileChange(entry["path"], read_text(Path(entry["path"])), entry["content"])
        if change.needed or mode_of(entry["path"]) != int(entry["mode"], 8):
            wanted.append((entry, change))
        if change.needed and entry["validate"]:
            problems.append(invalid(module, entry))
    problems = [problem for problem in problems if problem]
    if problems:
        module.fail_json(msg="\n".join([*problems, "Nothing was changed."]), paths=[])
    removed = stale(module.params["prune"], {entry["path"] for entry in entries}, module.params["marker"])

    if not module.check_mode:
        for entry, change in wanted:
            write_text(module, change, int(entry["mode"], 8))
        for change in removed:
            write_text(module, change)
    changes = [(change, bool(entry["secret"])) for entry, change in wanted] + [
        (change, False) for change in removed
    ]
    result: dict[str, Any] = {"changed": bool(changes), "paths": [change.path for change, _secret in changes]}
    if module._diff:
        result["diff"] = [shown(change, secret) for change, secret in changes]
    module.exit_json(**result)


if __name__ == "__main__":
    main()
