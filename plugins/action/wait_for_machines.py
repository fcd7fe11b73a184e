# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""wait_for_machines on the controller: what the module does, and a person sees what goes on meanwhile."""

from __future__ import annotations

import time
import typing as t

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.kubestead.homelab.plugins.module_utils.state_api_client import StateApiError
from ansible_collections.kubestead.homelab.plugins.module_utils.state_api_module import API_OPTIONS, in_words
from ansible_collections.kubestead.homelab.plugins.module_utils.waiting import (
    OPTIONS,
    Progress,
    Watch,
    begin,
    outcome,
    wait,
)
from ansible_collections.kubestead.homelab.plugins.plugin_utils.api_action import ApiAction
from ansible_collections.kubestead.homelab.plugins.plugin_utils.messages import plain


class ActionModule(ApiAction):
    """Waits here where the task is the controller's own, else has the module do it."""

    def run(
        self, tmp: t.Optional[str] = None, task_vars: t.Optional[t.Dict[str, t.Any]] = None
    ) -> t.Dict[str, t.Any]:
        """Run the task."""
        result: t.Dict[str, t.Any] = ActionBase.run(
            self, tmp, task_vars
        )  # not ApiAction's: it runs the module
        self._task.args = self.api_arguments(task_vars or {})
        if not self.on_controller or self._task.check_mode or self._task.async_val:
            found = self.module(self._task.args, task_vars)
        else:
            _valid, options = self.validate_argument_spec({**OPTIONS, **API_OPTIONS})
            found = self._wait(options, task_vars or {})
        result.update(found)
        return result

    def _wait(self, options: t.Mapping[str, t.Any], variables: t.Mapping[str, t.Any]) -> t.Dict[str, t.Any]:
        deadline = time.monotonic() + options["timeout"]
        progress = Progress(options["interval"])

        def tell(watch: Watch) -> None:
            for line in progress.lines(watch) if options["progress"] else ():
                Display().display(f"  {plain(line)}")

        try:
            client = self.api_address(variables).connect(options["api_timeout"])
            try:
                watch, last_id = begin(
                    client,
                    options["machines"],
                    options["states"],
                    installed_phase=options["installed_phase"],
                    grace=options["grace"],
                )
                tell(watch)
                wait(client, watch, deadline, last_id, tell)
            finally:
                client.close()
        except StateApiError as error:
            raise AnsibleActionFail(in_words(error, options["api_token_file"])) from error
        found = outcome(watch, options["timeout"])
        verdict = watch.verdict(options["timeout"])
        return {**found, "failed": True, "msg": verdict} if verdict else found
