# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines and address ranges of a cluster, checked against each other."""

from __future__ import annotations

import pytest

from kubestead.model.address_ranges import (
    check_machines,
    check_ranges,
    check_sizes,
    load_balancer_networks,
)

PODS, SERVICES = "10.244.0.0/16", "10.96.0.0/12"


def test_the_usual_ranges_are_fine() -> None:
    ranges = {"the pod range": PODS, "the service range": SERVICES}
    assert check_ranges(ranges, {"cp-1": "10.77.0.11", "w-1": "worker.example"}) == []
    assert check_sizes(PODS, SERVICES, 256) == []


def test_both_families_are_fine() -> None:
    assert (
        check_ranges(
            {"pods": f"{PODS},fd00:1::/48", "services": f"{SERVICES},fd00:2::/112"}, {"n": "fd00:3::1"}
        )
        == []
    )


@pytest.mark.parametrize(
    ("ranges", "words"),
    [
        ({"pods": "10.244.0.0"}, None),  # one address is a range of its own: /32
        ({"pods": "10.244.0.1/16"}, "host bits"),
        ({"pods": "ten"}, "'ten'"),
        ({"pods": "10.0.0.0/16,10.1.0.0/16"}, "at most one range for each"),
        ({"pods": "127.0.0.0/8"}, "reserved"),
        ({"pods": "10.96.0.0/16", "services": SERVICES}, "overlap"),
        ({"pods": "10.0.0.0/8", "services": SERVICES}, "overlap"),
    ],
)
def test_wrong_ranges_are_named(ranges: dict[str, str], words: str | None) -> None:
    problems = check_ranges(ranges, {})
    assert (len(problems), words in problems[0]) == (1, True) if words else not problems


def test_no_machine_may_be_in_a_range() -> None:
    problems = check_ranges({"the pod range": PODS}, {"w-1": "10.244.3.4"})
    assert len(problems) == 1
    assert "w-1" in problems[0]
    assert "10.244.3.4" in problems[0]


@pytest.mark.parametrize(
    ("pods", "services", "machines", "words"),
    [
        ("10.244.0.0/23", SERVICES, 3, "room for 2 machines"),
        ("10.244.0.0/25", SERVICES, 1, "room for 0 machines"),
        (PODS, "10.0.0.0/8", 1, "too large, expected at most /12"),
        (PODS, "10.96.0.0/30", 1, "no room"),
    ],
)
def test_sizes(pods: str, services: str, machines: int, words: str) -> None:
    problems = check_sizes(pods, services, machines)
    assert len(problems) == 1
    assert words in problems[0]


def test_all_problems_of_the_machines_at_once() -> None:
    checked = check_machines(
        ["CP_1", "cp-2"], ["w-1", "w-2"], {"w-2": "w-1"}, {"CP_1": "10.0.0.1", "w-1": "10.0.0.1", "cp-2": ""}
    )
    assert [problem.split(" ")[0] for problem in checked.problems] == ["CP_1", "w-1,", "CP_1,"]
    assert "odd number" in checked.warnings[0]


def test_there_has_to_be_a_control_plane() -> None:
    assert "role control-plane" in check_machines([], ["w-1"], {}, {}).problems[0]
    assert check_machines(["cp-1"], [], {}, {}).warnings == []


def test_ranges_of_load_balancers_in_both_notations() -> None:
    networks, problems = load_balancer_networks(["10.0.0.64/28", "10.0.1.9 - 10.0.1.10"])
    assert list(networks.values()) == ["10.0.0.64/28", "10.0.1.9/32", "10.0.1.10/32"]
    assert problems == []
    assert "w-1" in check_ranges(networks, {"w-1": "10.0.1.10"})[0]


@pytest.mark.parametrize("text", ["10.0.0.64-", "10.0.0.9-10.0.0.1", "10.0.0.1-fd00::1", "lan"])
def test_a_range_of_load_balancers_that_is_none(text: str) -> None:
    networks, problems = load_balancer_networks([text])
    assert networks == {}
    assert repr(text) in problems[0]
