# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Action plugins of modules that talk to the State API: what the task leaves out, the inventory says."""

from __future__ import annotations

import os
import typing as t

from ansible.plugins.action import ActionBase
from ansible_collections.kubestead.homelab.plugins.plugin_utils.state_api import GROUP, Address, find


class ApiAction(ActionBase):
    """Knows where the State API is, as the callback does: by `api_*`, `kubestead_api_*`, the environment, or
    the first host of group `state_api`. That holds for tasks on the controller, whose files they are."""

    def __init__(self, *args: t.Any, **kwargs: t.Any) -> None:
        """Let a task run in the background, which Ansible's own class forbids."""
        super().__init__(*args, **kwargs)
        self._supports_async = True  # core 2.14 sets it where an object is made, not on the class

    def api_address(self, variables: t.Mapping[str, t.Any]) -> Address:
        """The address for this task."""
        arguments = self._task.args

        def option(name: str) -> t.Any:
            return arguments.get(name) or self._told(variables, name)

        return find(option, variables).address()

    def api_arguments(self, variables: t.Mapping[str, t.Any]) -> t.Dict[str, t.Any]:
        """The task's options, and those of `api_*` that it leaves out."""
        arguments = dict(self._task.args)
        if self.on_controller:
            address = self.api_address(variables)._asdict()
            arguments.update({f"api_{name}": value for name, value in address.items() if value})
        return arguments

    def run(
        self, tmp: t.Optional[str] = None, task_vars: t.Optional[t.Dict[str, t.Any]] = None
    ) -> t.Dict[str, t.Any]:
        """Run the module of the task's name."""
        result: t.Dict[str, t.Any] = super().run(tmp, task_vars)
        result.update(self.module(self.api_arguments(task_vars or {}), task_vars))
        return result

    def module(
        self, arguments: t.Dict[str, t.Any], task_vars: t.Optional[t.Dict[str, t.Any]]
    ) -> t.Dict[str, t.Any]:
        """The result of the module, in the background if the task wants that."""
        found: t.Dict[str, t.Any] = self._execute_module(
            module_name=f"kubestead.homelab.{self._task.action.rpartition('.')[2]}",
            module_args=arguments,
            task_vars=task_vars,
            wrap_async=self._task.async_val,
        )
        return found

    @property
    def on_controller(self) -> bool:
        """Whether the task's host is the controller itself."""
        return str(self._connection.transport) == "local"

    def _told(self, variables: t.Mapping[str, t.Any], name: str) -> t.Any:
        variable = f"kubestead_{name}"
        if variable in variables:
            return self._templar.template(variables[variable])
        if f"KUBESTEAD_{name.upper()}" in os.environ:
            return os.environ[f"KUBESTEAD_{name.upper()}"]
        # The controller need not be a host of the inventory, which then tells it nothing.
        servers = variables.get("groups", {}).get(GROUP, [])
        return variables["hostvars"][servers[0]].get(variable) if servers else None
