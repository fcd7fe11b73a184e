# SPDX-License-Identifier: GPL-3.0-or-later
"""The lifecycle of a machine."""

from __future__ import annotations

import itertools

import pytest

from kubestead.model.lifecycle import (
    ACTIONS,
    DEADLINES,
    STATES,
    TRANSITIONS,
    TransitionError,
    check_transition,
    is_legal,
)


def test_every_state_has_its_transitions() -> None:
    assert set(TRANSITIONS) == set(STATES)
    assert set().union(*TRANSITIONS.values()) <= set(STATES)


def test_the_ordinary_way() -> None:
    way = [
        None,
        "discovered",
        "approved",
        "install_pending",
        "installing",
        "installed",
        "provisioning",
        "ready",
    ]
    assert all(is_legal(before, after) for before, after in itertools.pairwise(way) if after)


@pytest.mark.parametrize("state", STATES)
def test_every_state_may_be_reported_again_and_retired(state: str) -> None:
    assert is_legal(state, state)
    assert is_legal(state, "retired")


@pytest.mark.parametrize(
    ("current", "wanted"),
    [
        (None, "ready"),
        ("discovered", "install_pending"),
        ("discovered", "provisioning"),
        ("approved", "installing"),
        ("ready", "installing"),
        ("retired", "ready"),
    ],
)
def test_short_cuts_are_refused(current: str | None, wanted: str) -> None:
    assert not is_legal(current, wanted)
    with pytest.raises(TransitionError, match=f"cannot go to {wanted}"):
        check_transition(current, wanted)


@pytest.mark.parametrize("wanted", ["install_pending", "installing"])
def test_a_locked_machine_is_not_installed(wanted: str) -> None:
    assert not is_legal("approved" if wanted == "install_pending" else "install_pending", wanted, locked=True)
    with pytest.raises(TransitionError, match="unlock it first"):
        check_transition("failed", wanted, locked=True)


def test_an_unknown_state_is_named() -> None:
    assert not is_legal("approved", "bored")
    with pytest.raises(TransitionError, match='"bored" is not a state, expected one of discovered'):
        check_transition("approved", "bored")


def test_states_in_which_a_machine_is_at_work_have_a_deadline_and_may_fail() -> None:
    assert set(DEADLINES) == {"install_pending", "installing", "provisioning", "rescue"}
    assert all(seconds >= 60 and is_legal(state, "failed") for state, seconds in DEADLINES.items())


def test_what_an_operator_asks_for_leads_to_a_state_that_there_is() -> None:
    targets = {action: state for action, state in ACTIONS.items() if state}
    assert targets == {
        "approve": "approved",
        "install": "install_pending",
        "reinstall": "install_pending",
        "rescue": "rescue",
        "retire": "retired",
    }
    assert set(ACTIONS) - set(targets) == {"lock", "unlock"}
    assert all(any(state in TRANSITIONS[before] for before in STATES) for state in targets.values())
