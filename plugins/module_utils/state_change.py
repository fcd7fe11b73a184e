# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a report or an operator's action would change of a machine, by the rules that the State API has."""

from __future__ import annotations

import typing as t

from . import lifecycle
from .state_api_machines import View

REPORTED = ("state", "phase", "progress", "message", "error")
_SHOWN = (*REPORTED, "feature_status", "locked")


def present_state(view: View) -> str:
    """What a machine counts as: one that has not reported is approved where the registry has it."""
    unseen = lifecycle.APPROVED if view.get("registered") else lifecycle.DISCOVERED
    return str(view.get("state") or unseen)


def after_report(view: View, report: t.Mapping[str, t.Any]) -> t.Dict[str, t.Any]:
    """The machine after a report; raises TransitionError where it may not be.

    As in the API: what the report does not say is not known any more, but features keep their status.
    """
    check(view, str(report["state"]))
    features = {**(view.get("feature_status") or {}), **(report.get("features") or {})}
    return {**view, **{name: report.get(name) for name in REPORTED}, "feature_status": features}


def after_action(view: View, action: str) -> t.Dict[str, t.Any]:
    """The machine after an action, the same where there is nothing to do; raises TransitionError."""
    wanted = lifecycle.ACTIONS[action]
    if wanted is None:
        return {**view, "locked": action == "lock"}
    if action == "install":
        _check_new(view)
    if _is_so(view, action):
        return dict(view)
    check(view, wanted)
    return {**view, "state": wanted, "phase": None, "progress": None, "message": None, "error": None}


def check(view: View, wanted: str) -> None:
    """Raise TransitionError unless the machine may go to the state `wanted`."""
    state = present_state(view)
    if state != wanted:
        lifecycle.check_transition(state, wanted, bool(view.get("locked")))


def shown(view: View) -> t.Dict[str, t.Any]:
    """What a difference shows of a machine."""
    return {name: view[name] for name in _SHOWN if view.get(name) not in (None, {}, False)}


def _is_so(view: View, action: str) -> bool:
    """Whether what is asked for is so already, or under way."""
    state = present_state(view)
    if action == "approve" and _has_been_approved(state):
        return True
    if action == "install":
        return state in lifecycle.INSTALL_STATES and _install_is_asked(view)
    if action == "reinstall" and state == lifecycle.INSTALL_PENDING:
        return _install_is_asked(view)
    if action == "rescue" and (view.get("rescue") or {}).get("handed_out_at"):
        return False
    return view.get("state") == lifecycle.ACTIONS[action]


def _has_been_approved(state: str) -> bool:
    """Whether a machine is past the point at which somebody approves it, and at work."""
    return state in lifecycle.STATES and not lifecycle.is_legal(state, lifecycle.APPROVED)


def _check_new(view: View) -> None:
    """Raise TransitionError for a machine that has a system."""
    state = present_state(view)
    if state == lifecycle.RESCUE:
        state = (view.get("rescue") or {}).get("from_state") or state
    has_system = state in (lifecycle.INSTALLED, lifecycle.PROVISIONING, lifecycle.READY)
    if has_system or (view.get("install") or {}).get("completed_id"):
        raise lifecycle.TransitionError(
            f"the machine has a system already (it is {state}): ask for `reinstall`, which erases its disk"
        )


def _install_is_asked(view: View) -> bool:
    install = view.get("install") or {}
    return bool(install.get("desired_id")) and install.get("desired_id") != install.get("completed_id")
