# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which task results stand for a way to the host and back."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

# Action plugins that do their work on the controller.
_ON_CONTROLLER = frozenset(
    {
        "add_host",
        "assert",
        "debug",
        "fail",
        "group_by",
        "import_playbook",
        "import_role",
        "import_tasks",
        "include",
        "include_role",
        "include_tasks",
        "include_vars",
        "meta",
        "pause",
        "set_fact",
        "set_stats",
        "validate_argument_spec",
        "kubestead.homelab.cluster_preflight",
    }
)
_BUILTIN = ("ansible.builtin.", "ansible.legacy.")


def on_controller(action: str) -> bool:
    """Tell whether tasks with this action never leave the controller."""
    for prefix in _BUILTIN:
        if action.startswith(prefix):
            action = action[len(prefix) :]
    return action in _ON_CONTROLLER


def skipped_before_connecting(result: Mapping[str, t.Any]) -> bool:
    """Tell whether a skipped result comes from a condition or an empty loop, not from the module."""
    # A censored result does not say why; a condition is the usual reason.
    return any(key in result for key in ("false_condition", "skip_reason", "skipped_reason", "censored"))
