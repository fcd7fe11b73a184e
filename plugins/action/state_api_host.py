# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The controller's half of state_api_host: its copy of the token."""

from __future__ import annotations

import os
import stat
import tempfile
import typing as t
from pathlib import Path

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

PRIVATE = 0o600


class ActionModule(ActionBase):
    """Lets the module do its work, and takes the token out of its result."""

    def run(
        self, tmp: t.Optional[str] = None, task_vars: t.Optional[t.Dict[str, t.Any]] = None
    ) -> t.Dict[str, t.Any]:
        """Run the task."""
        result: t.Dict[str, t.Any] = super().run(tmp, task_vars)
        result.update(
            self._execute_module(
                module_name="kubestead.homelab.state_api_host",
                module_args=self._task.args,
                task_vars=task_vars,
            )
        )
        given, copy = self._task.args.get("token"), self._task.args.get("controller_token_file")
        token = result.pop("_kubestead_token", f"{given}\n" if given else None)
        if token is None or not copy or result.get("failed"):
            return result
        path = Path(str(copy)).expanduser()
        try:
            if not _is_kept(path, token):
                result["changed"] = True
                result["changes"] = [*result["changes"], f"{path} on the controller"]
                if not self._task.check_mode:
                    _keep(path, token)
        except OSError as error:
            raise AnsibleActionFail(f"The token cannot be kept on the controller: {error}") from error
        return result


def _is_kept(path: Path, token: str) -> bool:
    try:
        return path.read_text(encoding="utf-8") == token and stat.S_IMODE(path.stat().st_mode) == PRIVATE
    except FileNotFoundError:
        return False


def _keep(path: Path, token: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, fresh = tempfile.mkstemp(dir=path.parent)  # made with mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(token)
        os.replace(fresh, path)
    except BaseException:
        os.unlink(fresh)
        raise
