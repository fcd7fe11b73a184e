# SPDX-License-Identifier: GPL-3.0-or-later
"""The lifecycle of a machine."""

from __future__ import annotations

import itertools

import pytest

from kubestead.model.lifecycle import STATES, TRANSITIONS, TransitionError, check_transition, is_legal


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
