# SPDX-License-Identifier: GPL-3.0-or-later
"""What provisioning decides for each machine; above all, which disk is never written unasked."""

from __future__ import annotations

from typing import Any

import pytest

from kubestead.model.lifecycle import STATES
from kubestead.model.provisioning import (
    ANSWERS,
    NEW,
    NONE,
    SILENT,
    UNCLEAR,
    Plan,
    answer_of,
    button,
    installations,
    plan,
    write_line,
)

MAC = "52:54:00:77:00:21"
HERE = {"answers": True, "said": ""}
REFUSED = "Failed to connect to the host via ssh: ssh: connect to host 10.0.0.21 port 22: {0}"
AWAY = {"answers": False, "said": REFUSED.format("No route to host")}


def view(state: str | None, **more: Any) -> dict[str, Any]:
    """A machine as the State API shows it."""
    install = {"desired_id": None, "completed_id": None, "attempts": 0, **more.pop("install", {})}
    return {"mac": MAC, "registered": True, "locked": False, "state": state, "install": install, **more}


def planned(known: dict[str, Any], seen: dict[str, Any], wanted: Any = NEW) -> Plan:
    """The plan for one machine, w."""
    return plan({"w": MAC}, {MAC: known}, {"w": seen}, wanted)


def places(made: Plan) -> set[str]:
    """The lists that w is in."""
    return {name for name, content in made.as_dict().items() if "w" in content}


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (REFUSED.format("Connection refused"), SILENT),
        (REFUSED.format("Connection timed out"), SILENT),
        ("ssh: connect to host fe80::1%eth0 port 2222: Network is unreachable", SILENT),
        ("ssh: Could not resolve hostname k8s-w-1: Name or service not known", SILENT),
        ("channel 0: open failed: connect failed: No route to host\nstdio forwarding failed", SILENT),
        ("Host key verification failed.", ANSWERS),
        ("root@10.0.0.21: Permission denied (publickey,password).", ANSWERS),
        ("Connection closed by UNKNOWN port 65535", UNCLEAR),
        ("Connection timed out during banner exchange", UNCLEAR),
        ("something that nobody has thought of", ANSWERS),
    ],
)
def test_only_where_nobody_is_there_a_machine_is_silent(said: str, answer: str) -> None:
    assert answer_of({"answers": False, "said": said})[0] == answer


def test_what_was_not_asked_is_unclear() -> None:
    assert answer_of({})[0] == UNCLEAR
    assert planned(view(None), {}).left["w"].startswith("it cannot be told whether it runs")


@pytest.mark.parametrize("state", [None, "discovered", "approved"])
def test_a_new_machine_is_installed(state: str | None) -> None:
    assert places(planned(view(state), AWAY)) == {"ask", "install", "wait"}


@pytest.mark.parametrize("wanted", [NEW, ["w"]])
@pytest.mark.parametrize("state", [None, *STATES])
def test_no_installation_is_asked_of_what_answers(state: str | None, wanted: Any) -> None:
    assert planned(view(state), HERE, wanted).ask == []
    failed = {"install": {"desired_id": "b", "attempts": 3}}
    assert planned(view(state, **failed), HERE, wanted).ask == []


@pytest.mark.parametrize("wanted", [NEW, ["w"]])
@pytest.mark.parametrize("state", [None, *STATES])
def test_no_disk_of_a_locked_machine_is_written(state: str | None, wanted: Any) -> None:
    for install in ({}, {"desired_id": "b"}, {"desired_id": "b", "completed_id": "a"}):
        made = planned(view(state, locked=True, install=install), AWAY, wanted)
        assert (made.ask, made.install) == ([], [])


@pytest.mark.parametrize("state", [state for state in STATES if state not in ("discovered", "approved")])
def test_what_has_a_system_is_switched_on_and_not_installed(state: str) -> None:
    made = planned(view(state, install={"desired_id": "a", "completed_id": "a"}), AWAY)
    assert made.ask == made.install == []
    assert places(made) - {"settled"} == ({"left"} if state in ("retired", "rescue") else {"start"})


@pytest.mark.parametrize("state", ["installed", "provisioning", "ready", "failed"])
def test_what_was_adopted_by_hand_is_no_new_machine(state: str) -> None:
    assert places(planned(view(state), AWAY)) - {"settled"} == {"start"}


def test_an_installation_that_was_asked_for_goes_on() -> None:
    open_ = {"install": {"desired_id": "b", "completed_id": "a", "attempts": 1}}
    for wanted in (NEW, NONE):
        assert places(planned(view("install_pending", **open_), AWAY, wanted)) == {"install", "wait"}
        assert places(planned(view("install_pending", **open_), HERE, wanted)) == {"install", "wait"}
        assert places(planned(view("installing", **open_), AWAY, wanted)) == {"wait"}
        assert places(planned(view("failed", **open_), AWAY, wanted)) == {"install", "wait"}


def test_what_boots_for_the_first_time_is_waited_for() -> None:
    done = view("installed", phase="done", install={"desired_id": "a", "completed_id": "a"})
    refused = {"answers": False, "said": "Host key verification failed."}
    assert places(planned(done, AWAY)) == places(planned(done, refused)) == {"start", "wait"}
    assert places(planned(done, HERE)) == {"reached"}


def test_when_all_attempts_are_used_up_it_is_asked_for_anew() -> None:
    known = view("failed", phase="disk", install={"desired_id": "b", "attempts": 3})
    assert places(planned(known, AWAY)) == {"ask", "install", "wait"}
    assert places(planned(known, AWAY, NONE)) == {"left"}


def test_only_machines_that_were_named() -> None:
    machines, seen = {"v": MAC, "w": MAC}, {"v": AWAY, "w": AWAY}
    made = plan(machines, {MAC: view(None)}, seen, ["v"])
    assert (made.ask, list(made.left)) == (["v"], ["w"])
    for wrong in (["x"], "x"):
        with pytest.raises(ValueError, match="provision_install is x, expected new, none, or a list"):
            plan(machines, {}, seen, wrong)


def test_what_is_left_alone_is_told_why() -> None:
    for known, words in (
        ({}, "registry does not have it"),
        (view("retired"), "approve w"),
        (view("rescue"), "rescue system"),
        (view(None, locked=True), "unlock w"),
    ):
        made = planned(known, AWAY)
        assert places(made) == {"left"}
        assert words in made.left["w"]


@pytest.mark.parametrize(
    ("state", "phase", "settled"),
    [
        ("ready", "validate", True),
        ("provisioning", "prepare", True),
        ("failed", "join", True),
        ("failed", "provision", False),
        ("installed", "first-boot", False),
        (None, None, False),
    ],
)
def test_a_machine_at_work_is_not_reported_anew(state: str | None, phase: str | None, settled: bool) -> None:
    made = planned(view(state, phase=phase), HERE)
    assert (made.reached, made.settled) == (["w"], ["w"] if settled else [])


def test_the_lines_for_a_person() -> None:
    known = view("failed", error="no disk at /dev/disk/by-id/x")
    entry = {"disk": "/dev/disk/by-id/x", "os": "debian-12", "labels": {"rack": "a1"}, "location": "cellar"}
    assert write_line("w", known, entry) == (
        f"w  {MAC}  debian-12 on /dev/disk/by-id/x (last time: no disk at /dev/disk/by-id/x)"
    )
    assert button("w", known, entry, True, AWAY).startswith(
        f"w  {MAC}  (cellar, a1): switch it on, from the network"
    )
    assert button("w", view("install_pending"), {}, True, HERE) == f"w  {MAC}: restart it, from the network"
    assert button("w", view("ready"), {}, False, AWAY) == f"w  {MAC}: switch it on"


def test_installations() -> None:
    done = view("installed", install={"completed_id": "a"})
    assert installations({MAC: done, "52:54:00:77:00:22": view(None)}) == {MAC: "a"}
