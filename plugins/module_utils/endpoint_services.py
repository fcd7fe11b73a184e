# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HAProxy and keepalived as systemd runs them, for the module control_plane_endpoint."""

from __future__ import annotations

import hashlib
import os
import tempfile
import typing as t

from .endpoint_files import CHECK_FILE, HAPROXY_FILE, KEEPALIVED_FILE
from .host import FileChange

_PACKAGES = {HAPROXY_FILE: "haproxy", KEEPALIVED_FILE: "keepalived"}
_CHECKS = {
    HAPROXY_FILE: ["haproxy", "-c", "-f"],
    KEEPALIVED_FILE: ["keepalived", "--config-test", "--use-file"],
}
_SIGNALLED = (143, -15)
_JOURNAL_LINES = 5


class Services:
    """Units of this machine; `module` is the AnsibleModule."""

    def __init__(self, module: t.Any) -> None:
        self.module = module
        self.touched = False

    def show(self, unit: str) -> dict[str, str]:
        """What systemd says of the unit."""
        names = "LoadState,ActiveState,UnitFileState,StateChangeTimestamp"
        _code, out, _err = self.module.run_command(
            ["systemctl", "show", f"{unit}.service", "--timestamp=unix", f"--property={names}"]
        )
        return dict(line.split("=", 1) for line in out.splitlines() if "=" in line)

    def active(self, unit: str) -> bool:
        """Whether the unit runs."""
        return self.show(unit).get("ActiveState") == "active"

    def run(self, unit: str, configuration: str, written: bool) -> list[str]:
        """Enable and start the unit, or let it read its configuration again where that was written just now.

        Also where the file is newer than the unit's last start or reload: a run was interrupted in between.
        """
        shown = self.show(unit)
        done = []
        if shown.get("UnitFileState") != "enabled":
            done.append(self._systemctl("enable", unit))
        if shown.get("ActiveState") != "active":
            done.append(self._systemctl("restart", unit))
        elif written or written_at(configuration) > int(shown.get("StateChangeTimestamp", "")[1:] or 0):
            done.append(self._systemctl("reload", unit))
        return done

    def stop(self, unit: str) -> list[str]:
        """Stop the unit and keep it from starting at boot."""
        shown = self.show(unit)
        if shown.get("LoadState") != "loaded":
            return []
        if shown.get("ActiveState") in ("inactive", "failed") and shown.get("UnitFileState") != "enabled":
            return []
        return [self._systemctl("disable --now", unit)]

    def journal(self, unit: str) -> list[str]:
        """What the unit said last."""
        _code, out, _err = self.module.run_command(
            [
                "journalctl",
                f"--unit={unit}.service",
                f"--lines={_JOURNAL_LINES}",
                "--output=cat",
                "--no-pager",
            ]
        )
        return [f"{unit}: {line}" for line in out.splitlines() if line.strip()]

    def _systemctl(self, verb: str, unit: str) -> str:
        if not self.module.check_mode:
            code, _out, err = self.module.run_command(["systemctl", *verb.split(), f"{unit}.service"])
            if code:
                self.module.fail_json(
                    msg="\n".join([f"systemctl {verb} {unit} failed: {err.strip()}", *self.journal(unit)])
                )
            self.touched = True
        return f"{verb} {unit}"


def written_at(path: str) -> int:
    """When the file was written, in seconds; 0 when there is none."""
    try:
        return int(os.stat(path).st_mtime)
    except FileNotFoundError:
        return 0


def is_default(module: t.Any, path: str, text: str) -> bool:
    """Whether a file is still the one that its package brought."""
    if path not in _PACKAGES:
        return False
    _code, out, _err = module.run_command(
        ["dpkg-query", "--show", "--showformat=${Conffiles}", _PACKAGES[path]]
    )
    brought = dict(line.split()[:2] for line in out.splitlines() if len(line.split()) >= 2)
    digest = hashlib.md5(text.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()
    return brought.get(path) == digest


def config_problem(module: t.Any, change: FileChange) -> str:
    """Nothing when the program that reads the file takes its new text, or is not here; else a sentence."""
    command = _CHECKS.get(change.path)
    if command is None or not module.get_bin_path(command[0]):
        return ""
    # keepalived refuses a script that is not there, and in check mode ours may not be.
    text = (change.after or "").replace(f'"{CHECK_FILE} ', '"/bin/true ')
    handle, name = tempfile.mkstemp(dir=module.tmpdir, prefix=".ansible-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        code, out, err = module.run_command([*command, name])
    finally:
        os.unlink(name)
    said = [line for line in (err + "\n" + out).splitlines() if line.strip()]
    # keepalived 2.2 ends itself by a signal, whatever it has found: then what it says tells.
    if code == 0 or (code in _SIGNALLED and not said):
        return ""
    return f"{change.path}: {command[0]} refuses it: {said[-1].strip() if said else f'it ended with {code}'}"
