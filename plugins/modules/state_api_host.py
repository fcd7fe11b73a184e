#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: state_api_host
short_description: The user, folders, token, registry and unit of the State API
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Makes on a host what the State API needs beside its program, in one round trip.
  - The token is made on the host once. The controller gets a copy in O(controller_token_file). No result,
    difference or log has it.
extends_documentation_fragment:
  - kubestead.homelab.attributes
  - kubestead.homelab.attributes.changes
options:
  user:
    description: The user of the service. It is made, with a group of the same name.
    type: str
    default: machine-state-api
  data_dir:
    description: The folder that the service writes to. It is the user's, and closed to others.
    type: path
    default: /srv/state
  registry_path:
    description: The live registry. Its folder is closed to all but root and the service.
    type: path
    default: /srv/http/machines/registry.json
  registry:
    description: The text of a registry that replaces the live one. The one before is kept beside it.
    type: str
  token_file:
    description: The file with the token, which root alone may read.
    type: path
    default: /etc/kubestead/state-api.token
  token:
    description: The token. Where it is not given, the one that is there stays, or one is made.
    type: str
  controller_token_file:
    description: The controller's copy of the token, which its user alone may read.
    type: str
  unit:
    description: The text of the service's unit.
    type: str
    required: true
  unit_file:
    description: The file of the unit.
    type: path
    default: /etc/systemd/system/machine-state-api.service
"""

EXAMPLES = r"""
- name: Prepare the host of the State API
  kubestead.homelab.state_api_host:
    registry: "{{ lookup('kubestead.homelab.registry_text', 'inventory/lab/registry.json') }}"
    controller_token_file: ~/.cache/kubestead/state-api.token
    unit: "{{ lookup('ansible.builtin.template', 'machine-state-api.service.j2') }}"
"""

RETURN = r"""
changes:
  description: What was, or in check mode would be, made or changed.
  returned: always
  type: list
  elements: str
  sample: [/srv/state]
backup:
  description: Where the registry that was there before is kept.
  returned: when the registry was replaced
  type: str
"""

import grp
import os
import pwd
import secrets
import stat
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils.host import FileChange, read_text
from ansible_collections.kubestead.homelab.plugins.module_utils.write import write_text

ROOT = "root"


class Host:
    """This host, on its way to what is asked for."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.changes: list[str] = []
        self.diffs: list[dict[str, str]] = []
        self.backup: str | None = None

    def note(self, what: str, before: str, after: str) -> bool:
        """Remember a change; tell whether to make it."""
        self.changes.append(what)
        self.diffs.append({"before_header": what, "after_header": what, "before": before, "after": after})
        return not self.module.check_mode

    def user(self, name: str) -> None:
        """Make the service's user."""
        try:
            pwd.getpwnam(name)
        except KeyError:
            if self.note(f"user {name}", "", f"{name}\n"):
                options = ["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
                options += ["--shell", "/usr/sbin/nologin", "--comment", "Kubestead State API"]
                self.module.run_command(["useradd", *options, name], check_rc=True)

    def folder(self, path: Path, owner: str, group: str, mode: int) -> None:
        """Make a folder, or let it belong to whom it should."""
        wanted = f"{owner}:{group} {mode:04o}\n"
        try:
            found = path.stat()
        except FileNotFoundError:
            before = ""
        else:
            before = (
                f"{_name(found.st_uid, pwd)}:{_name(found.st_gid, grp)} {stat.S_IMODE(found.st_mode):04o}\n"
            )
        if before == wanted or not self.note(str(path), before, wanted):
            return
        path.mkdir(parents=True, exist_ok=True)
        os.chown(path, pwd.getpwnam(owner).pw_uid, grp.getgrnam(group).gr_gid)
        path.chmod(mode)

    def file(
        self, path: Path, text: str, mode: int = 0o644, secret: bool = False, keep: bool = False
    ) -> None:
        """Give a file its text and mode. What was there before is kept beside it where `keep` says so."""
        change = FileChange(str(path), read_text(path), text)
        if not change.needed and stat.S_IMODE(path.stat().st_mode) == mode:
            return
        shown = [change.before or "", text]
        if secret:
            shown = ["(not shown)\n" if each else "" for each in shown]
        if not self.note(str(path), *shown):
            return
        if keep and change.needed and change.before is not None:
            self.backup = self.module.backup_local(str(path))
        write_text(self.module, change, mode)

    def token(self, path: Path, given: "str | None") -> "str | None":
        """Settle the token; give it, where there is one."""
        text = read_text(path)
        if given:
            text = f"{given}\n"
        elif text is None or not text.strip():
            text = f"{secrets.token_urlsafe(32)}\n"
            if self.module.check_mode:
                self.note(str(path), "", "(not shown)\n")
                return None
        self.file(path, text, mode=0o600, secret=True)
        return text


def _name(number: int, names: Any) -> str:
    try:
        entry = names.getpwuid(number) if names is pwd else names.getgrgid(number)
    except KeyError:
        return str(number)
    return str(entry[0])


def main() -> None:
    """Compare, converge, tell."""
    module = AnsibleModule(
        argument_spec={
            "user": {"type": "str", "default": "machine-state-api"},
            "data_dir": {"type": "path", "default": "/srv/state"},
            "registry_path": {"type": "path", "default": "/srv/http/machines/registry.json"},
            "registry": {"type": "str"},
            "token_file": {"type": "path", "default": "/etc/kubestead/state-api.token", "no_log": False},
            "token": {"type": "str", "no_log": True},
            "controller_token_file": {"type": "str", "no_log": False},
            "unit": {"type": "str", "required": True},
            "unit_file": {"type": "path", "default": "/etc/systemd/system/machine-state-api.service"},
        },
        supports_check_mode=True,
    )
    given = module.params
    user = given["user"]
    registry, token_file = Path(given["registry_path"]), Path(given["token_file"])
    host = Host(module)
    host.user(user)
    host.folder(Path(given["data_dir"]), user, user, 0o750)
    host.folder(registry.parent, ROOT, user, 0o750)
    host.folder(token_file.parent, ROOT, ROOT, 0o755)
    if given["registry"]:
        # Its folder is closed, so its mode may be the one that an editor leaves when it makes the file anew.
        host.file(registry, given["registry"], keep=True)
    token = host.token(token_file, given["token"])
    host.file(Path(given["unit_file"]), given["unit"])

    result: dict[str, Any] = {"changed": bool(host.changes), "changes": host.changes}
    if host.backup:
        result["backup"] = host.backup
    if module._diff:
        result["diff"] = host.diffs
    if token and not given["token"] and given["controller_token_file"]:
        result["_kubestead_token"] = token  # the action plugin takes it out
    module.exit_json(**result)


if __name__ == "__main__":
    main()
