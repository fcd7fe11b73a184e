# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The controller's half of state_api_host: its copies of token and authority, what it has seen."""

from __future__ import annotations

import stat
import typing as t
from pathlib import Path

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.kubestead.homelab.plugins.module_utils.atomic import write_atomically
from ansible_collections.kubestead.homelab.plugins.module_utils.registry_sync import (
    base_record,
    remember_base,
)

PRIVATE, PUBLIC = 0o600, 0o644
# What the module hands over, in which option the copy's place is, and its mode.
COPIES = (("token", "controller_token_file", PRIVATE), ("ca", "controller_ca_file", PUBLIC))


class ActionModule(ActionBase):
    """Lets the module do its work, and keeps what the controller is to keep."""

    def run(
        self, tmp: t.Optional[str] = None, task_vars: t.Optional[t.Dict[str, t.Any]] = None
    ) -> t.Dict[str, t.Any]:
        """Run the task."""
        result: t.Dict[str, t.Any] = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        records = _records(arguments)
        arguments["registry_seen"] = [base for base in map(base_record, records) if base]
        result.update(
            self._execute_module(
                module_name="kubestead.homelab.state_api_host", module_args=arguments, task_vars=task_vars
            )
        )
        handed = {name: result.pop(f"_kubestead_{name}", None) for name, _option, _mode in COPIES}
        if arguments.get("token"):
            handed["token"] = f"{arguments['token']}\n"
        if result.get("failed"):
            return result
        try:
            for name, option, mode in COPIES:
                self._keep(result, arguments.get(option), handed[name], mode)
            if result.get("registry_base") and not self._task.check_mode:
                for record in records:
                    if base_record(record) != result["registry_base"]:
                        remember_base(record, result["registry_base"])
        except OSError as error:
            raise AnsibleActionFail(
                f"What the controller is to keep of the State API cannot be kept: {error}"
            ) from error
        return result

    def _keep(self, result: t.Dict[str, t.Any], copy: t.Any, text: t.Optional[str], mode: int) -> None:
        if text is None or not copy:
            return
        path = Path(str(copy)).expanduser()
        if _is_kept(path, text, mode):
            return
        result["changed"] = True
        result["changes"] = [*result["changes"], f"{path} on the controller"]
        if not self._task.check_mode:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomically(path, text, mode)


def _records(arguments: t.Mapping[str, t.Any]) -> t.List[str]:
    """By which paths it is remembered what a registry last agreed with.

    One is the registry's own, which the command `kubestead` uses too. The other is for this one API alone,
    known by where its token is kept: one registry may be pushed to several.
    """
    source, copy = arguments.get("registry_source"), arguments.get("controller_token_file")
    if not source:
        return []
    return [str(source), f"{source}@{Path(str(copy)).expanduser()}"] if copy else [str(source)]


def _is_kept(path: Path, text: str, mode: int) -> bool:
    try:
        return path.read_text(encoding="utf-8") == text and stat.S_IMODE(path.stat().st_mode) == mode
    except FileNotFoundError:
        return False
