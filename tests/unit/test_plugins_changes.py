# SPDX-License-Identifier: GPL-3.0-or-later
"""What modules plan before they write: a machine's entry, its state."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubestead.model import lifecycle
from kubestead.model.entry_change import remove_entry, set_entry
from kubestead.model.lifecycle import TransitionError
from kubestead.model.registry import Registry, RegistryError
from kubestead.model.state_api_machines import (
    UnknownMachineError,
    condition,
    find_mac,
)
from kubestead.model.state_change import after_action, after_report, present_state, shown

MAC, OTHER = "52:54:00:77:00:11", "52:54:00:77:00:21"
ENTRY = {"hostname": "cp-1", "role": "control-plane", "architecture": "amd64", "rack": "left"}


def registry() -> Registry:
    """One machine, in a notation of its own."""
    return Registry({"52-54-00-77-00-11": ENTRY, OTHER: {**ENTRY, "hostname": "cp-2"}})


def test_given_keys_are_set_and_others_stay() -> None:
    change = set_entry(registry(), MAC.upper(), {"ip": "10.0.0.11"}, exclusive=False)
    assert change.needed
    assert change.after == {**ENTRY, "ip": "10.0.0.11"}
    assert list(change.registry.content()) == ["52-54-00-77-00-11", OTHER]
    assert set_entry(change.registry, MAC, {"ip": "10.0.0.11"}, exclusive=False).needed is False


def test_exclusive_takes_the_others_away() -> None:
    bare = {key: value for key, value in ENTRY.items() if key != "rack"}
    change = set_entry(registry(), MAC, bare, exclusive=True)
    assert change.after == bare
    assert not set_entry(registry(), MAC, ENTRY, exclusive=True).needed


@pytest.mark.parametrize("values", [{"hostname": "CP-1"}, {"architecture": "x86_64"}, {"locked": False}, {}])
def test_the_same_in_other_words_is_no_change(values: dict[str, Any]) -> None:
    assert not set_entry(registry(), MAC, values, exclusive=False).needed


def test_a_new_machine_and_its_difference() -> None:
    change = set_entry(registry(), "525400770031", {**ENTRY, "hostname": "cp-3"}, exclusive=False)
    assert (change.mac, change.before) == ("52:54:00:77:00:31", None)
    shown_ = change.difference("registry.json")
    assert shown_["before"] == ""
    assert '"hostname": "cp-3"' in shown_["after"]
    assert shown_["after_header"] == "registry.json: 52:54:00:77:00:31"
    assert change.warnings == (
        "registry.json: 52-54-00-77-00-11 and 2 more: the key rack is not known; it is kept.",
    )


def test_all_problems_at_once() -> None:
    with pytest.raises(RegistryError) as caught:
        set_entry(registry(), MAC, {"role": "master", "hostname": "cp-2", "ip": "x"}, exclusive=False)
    assert len(caught.value.problems) == 3


def test_removing() -> None:
    change = remove_entry(registry(), MAC)
    assert (change.needed, change.before, change.after) == (True, ENTRY, None)
    assert list(change.registry.content()) == [OTHER]
    assert not remove_entry(change.registry, MAC).needed


def view(state: str | None = None, **more: Any) -> dict[str, Any]:
    """A machine as the API shows it."""
    return {"mac": MAC, "hostname": "cp-1", "registered": True, "state": state, "locked": False, **more}


def test_a_report_replaces_the_one_before_but_features_stay() -> None:
    before = view("installed", phase="x", message="y", feature_status={"nfs": "ready"})
    after = after_report(before, {"state": "provisioning", "features": {"gpu": "waiting"}})
    assert shown(after) == {"state": "provisioning", "feature_status": {"nfs": "ready", "gpu": "waiting"}}
    assert shown(after_report(after, {"state": "provisioning"})) == shown(after)


@pytest.mark.parametrize(
    ("machine", "state"),
    [
        (view("ready"), "installed"),
        (view(registered=False), "provisioning"),
        (view("installed", locked=True), "install_pending"),
    ],
)
def test_reports_that_the_lifecycle_does_not_allow(machine: dict[str, Any], state: str) -> None:
    with pytest.raises(TransitionError):
        after_report(machine, {"state": state})


@pytest.mark.parametrize(
    ("machine", "action", "changes"),
    [
        (view("ready"), "approve", False),
        (view("approved"), "approve", False),
        (view("failed"), "approve", True),
        (view("retired"), "approve", True),
        (view("install_pending"), "approve", True),
        (view(registered=False, state="discovered"), "approve", True),
        (view("ready"), "lock", True),
        (view("ready", locked=True), "lock", False),
        (view("ready"), "unlock", False),
        (view("ready"), "reinstall", True),
        (view("install_pending", install={"desired_id": "b", "completed_id": "a"}), "reinstall", False),
        (view("install_pending", install={"desired_id": "a", "completed_id": "a"}), "reinstall", False),
        (view("retired"), "retire", False),
    ],
)
def test_actions(machine: dict[str, Any], action: str, changes: bool) -> None:
    after = after_action(machine, action)
    assert (shown(after) != shown(machine)) is changes
    assert shown(after_action(after, action)) == shown(after)


def test_no_reinstallation_of_a_locked_machine() -> None:
    with pytest.raises(TransitionError, match="locked"):
        after_action(view("ready", locked=True), "reinstall")


@given(st.sampled_from([None, *lifecycle.STATES]), st.sampled_from(sorted(lifecycle.ACTIONS)), st.booleans())
def test_an_action_is_done_refused_or_done_already(state: str | None, action: str, locked: bool) -> None:
    machine = view(state, locked=locked)
    try:
        after = after_action(machine, action)
    except TransitionError:
        return
    if shown(after) != shown(machine) and after["state"] != state:
        assert lifecycle.is_legal(present_state(machine), after["state"], locked)


VIEWS = {MAC: view("ready"), OTHER: {"mac": OTHER, "hostname": "worker-1"}}


def test_finding_a_machine() -> None:
    assert find_mac(VIEWS, "CP-1") == MAC
    assert find_mac(VIEWS, "5254.0077.0099") == "52:54:00:77:00:99"
    with pytest.raises(UnknownMachineError, match="no machine wroker-1: did you mean worker-1"):
        find_mac(VIEWS, "wroker-1")
    with pytest.raises(UnknownMachineError, match="no machine zzz: there are cp-1, worker-1"):
        find_mac(VIEWS, "zzz")
    with pytest.raises(UnknownMachineError, match="its registry has no machine"):
        find_mac({}, "zzz")
    many = {str(number): {"hostname": f"node-{number:02}"} for number in range(30)}
    with pytest.raises(UnknownMachineError, match="node-09 and 20 more"):
        find_mac(many, "zzz")


def test_how_a_machine_is() -> None:
    assert condition(view()) == "has not reported yet"
    assert condition(None) == "has not reported yet"
    now = datetime.fromisoformat("2026-11-21T16:00:00Z")
    for at, age in (
        ("2026-11-21T15:59:57.100Z", "2 s ago"),
        ("2026-11-21T15:57:00Z", "3 min ago"),
        ("2026-11-21T13:00:00Z", "3 h ago"),
        ("2026-11-18T13:00:00Z", "3 d ago"),
    ):
        machine = view("installing", phase="disk", progress=0, message="a\nb", updated_at=at)
        assert condition(machine, now) == f'is installing (disk, 0 %), {age}: "a b"'
