# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""machine_answers: one attempt to connect, whose failure is an answer too."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible_collections.kubestead.homelab.plugins.plugin_utils.messages import plain


class ActionModule(ActionBase):
    """Connects as every task does."""

    def run(
        self, tmp: t.Optional[str] = None, task_vars: t.Optional[t.Dict[str, t.Any]] = None
    ) -> t.Dict[str, t.Any]:
        """Run the task."""
        result: t.Dict[str, t.Any] = super().run(tmp, task_vars)
        self.validate_argument_spec({})
        try:
            self._low_level_execute_command("true", sudoable=False)
        except AnsibleConnectionFailure as error:
            return {**result, "changed": False, "answers": False, "said": plain(str(error))}
        return {**result, "changed": False, "answers": True, "said": ""}
