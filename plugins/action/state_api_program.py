# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The controller's half of state_api_program: build, fetch, send."""

from __future__ import annotations

import tempfile
import typing as t
from pathlib import Path

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.kubestead.homelab.plugins.module_utils.program_bundle import (
    BundleError,
    Target,
    program_id,
    write_archive,
)

SOURCE = Path(__file__).resolve().parents[2]


class ActionModule(ActionBase):
    """Asks the host what it has, and sends it what it lacks."""

    TRANSFERS_FILES = True

    def run(
        self, tmp: t.Optional[str] = None, task_vars: t.Optional[t.Dict[str, t.Any]] = None
    ) -> t.Dict[str, t.Any]:
        """Run the task."""
        result: t.Dict[str, t.Any] = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        try:
            arguments["program_id"] = program_id(SOURCE)
            found = self._module(arguments, task_vars)
            if found.get("failed") or not found.get("needs_archive") or self._task.check_mode:
                result.update(found)
                return result
            with tempfile.TemporaryDirectory(prefix="kubestead-") as folder:
                archive = Path(folder, "state-api.tar")
                write_archive(
                    archive,
                    SOURCE,
                    Path(str(arguments.get("cache"))).expanduser(),
                    Target(found["python"], found["machine"]),
                    with_wheels=arguments.get("wheels_from") == "controller",
                )
                arguments["archive"] = self._send(archive)
        except BundleError as error:
            raise AnsibleActionFail(str(error)) from error
        result.update(self._module(arguments, task_vars))
        self._remove_tmp_path(self._connection._shell.tmpdir)
        return result

    def _module(
        self, arguments: t.Dict[str, t.Any], task_vars: t.Optional[t.Dict[str, t.Any]]
    ) -> t.Dict[str, t.Any]:
        done: t.Dict[str, t.Any] = self._execute_module(
            module_name="kubestead.homelab.state_api_program", module_args=arguments, task_vars=task_vars
        )
        return done

    def _send(self, archive: Path) -> str:
        folder = self._connection._shell.tmpdir or self._make_tmp_path()
        remote: str = self._transfer_file(
            str(archive), self._connection._shell.join_path(folder, archive.name)
        )
        self._fixup_perms2((folder, remote))
        return remote
