# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that the controller has rendered: compared, checked by their own programs, then written together."""

from __future__ import annotations

import os
import shlex
import stat
import tempfile
from pathlib import Path
from typing import Any, Sequence

from .host import FileChange, read_text
from .write import write_text

MARKER = "Managed by kubestead.homelab"

# The options of modules that take files.
FILE_OPTIONS: dict[str, Any] = {
    "path": {"type": "path", "required": True},
    "content": {"type": "str", "required": True},
    "mode": {"type": "str", "default": "0644"},
    "secret": {"type": "bool", "default": False, "no_log": False},
    "keep": {"type": "bool", "default": False},
    "validate": {"type": "str"},
    "validate_text": {"type": "str"},
    "validate_in": {"type": "path"},
}


def invalid(module: Any, entry: dict[str, Any]) -> str:
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


def _mode_of(path: str) -> int:
    """A file's permissions; 0 when there is no such file."""
    try:
        return stat.S_IMODE(os.stat(path).st_mode)
    except FileNotFoundError:
        return 0


def stale(folders: Sequence[str], keep: set[str], marker: str) -> list[FileChange]:
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


def _shown(change: FileChange, secret: bool) -> dict[str, str]:
    """The difference, without the text of secrets."""
    before, after = change.before or "", change.after or ""
    if secret:
        before, after = before and "(not shown)\n", after and "(not shown, changed)\n"
    return {"before_header": change.path, "after_header": change.path, "before": before, "after": after}


class FileSet:
    """Files as they are and as they should be."""

    def __init__(
        self, module: Any, entries: Sequence[dict[str, Any]], prune: Sequence[str], marker: str
    ) -> None:
        """Compare, and check what differs; `problems` then has what is wrong with it."""
        self.module = module
        self.problems: list[str] = []
        self._wanted: list[tuple[dict[str, Any], FileChange]] = []
        for entry in entries:
            if entry["keep"] and os.path.exists(entry["path"]):
                continue
            change = FileChange(entry["path"], read_text(Path(entry["path"])), entry["content"])
            if change.needed or _mode_of(entry["path"]) != int(entry["mode"], 8):
                self._wanted.append((entry, change))
            problem = invalid(module, entry) if change.needed and entry["validate"] else ""
            if problem:
                self.problems.append(problem)
        self._removed = stale(prune, {entry["path"] for entry in entries}, marker)

    @property
    def _changes(self) -> list[tuple[FileChange, bool]]:
        written = [(change, bool(entry["secret"])) for entry, change in self._wanted]
        return written + [(change, False) for change in self._removed]

    @property
    def paths(self) -> list[str]:
        """What has to be touched."""
        return [change.path for change, _secret in self._changes]

    @property
    def diff(self) -> list[dict[str, str]]:
        """The differences."""
        return [_shown(change, secret) for change, secret in self._changes]

    def write(self) -> None:
        """Write and remove; in check mode nothing."""
        if self.module.check_mode:
            return
        for entry, change in self._wanted:
            write_text(self.module, change, int(entry["mode"], 8))
        for change in self._removed:
            write_text(self.module, change)
