# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bringing users, folders and files of this host to what is asked for, and noting what that changed."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path
from typing import Any

from .host import FileChange, read_text
from .write import write_text

HIDDEN = "(not shown)\n"


class Converging:
    """This host, on its way to what is asked for. In check mode it notes and changes nothing."""

    def __init__(self, module: Any) -> None:
        """module: the AnsibleModule."""
        self.module = module
        self.changes: list[str] = []
        self.diffs: list[dict[str, str]] = []

    def note(self, what: str, before: str, after: str) -> bool:
        """Remember a change; tell whether to make it."""
        self.changes.append(what)
        self.diffs.append({"before_header": what, "after_header": what, "before": before, "after": after})
        return not self.module.check_mode

    def user(self, name: str, comment: str) -> None:
        """Make a user of the system, with a group of the same name."""
        try:
            pwd.getpwnam(name)
        except KeyError:
            if self.note(f"user {name}", "", f"{name}\n"):
                options = ["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
                options += ["--shell", "/usr/sbin/nologin", "--comment", comment]
                self.module.run_command(["useradd", *options, name], check_rc=True)

    def folder(self, path: Path, owner: str, group: str, mode: int) -> None:
        """Make a folder, or let it belong to whom it should. What is in it is left alone."""
        wanted = f"{owner}:{group} {mode:04o}\n"
        try:
            found = path.stat()
        except FileNotFoundError:
            before = ""
        else:
            before = f"{_user(found.st_uid)}:{_group(found.st_gid)} {stat.S_IMODE(found.st_mode):04o}\n"
        if before == wanted or not self.note(str(path), before, wanted):
            return
        path.mkdir(parents=True, exist_ok=True)
        os.chown(path, pwd.getpwnam(owner).pw_uid, grp.getgrnam(group).gr_gid)
        path.chmod(mode)

    def file(self, path: Path, text: str, mode: int = 0o644, secret: bool = False) -> None:
        """Give a file its text and mode. The text of a secret one is in no difference."""
        change = FileChange(str(path), read_text(path), text)
        if not change.needed and stat.S_IMODE(path.stat().st_mode) == mode:
            return
        shown = [change.before or "", text]
        if secret:
            shown = [HIDDEN if each else "" for each in shown]
        if self.note(str(path), *shown):
            write_text(self.module, change, mode)

    def no_file(self, path: Path, secret: bool = False) -> None:
        """Remove a file, where there is one."""
        before = read_text(path)
        if before is not None and self.note(str(path), HIDDEN if secret else before, ""):
            path.unlink()

    def result(self) -> "dict[str, Any]":
        """What the module tells of it."""
        told: dict[str, Any] = {"changed": bool(self.changes), "changes": self.changes}
        if self.module._diff:
            told["diff"] = self.diffs
        return told


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
