# SPDX-License-Identifier: GPL-3.0-or-later
"""The address in front of API servers: what it is, and what is wrong with the settings."""

from __future__ import annotations

from typing import Any

import pytest

from kubestead.model import endpoint_plan as plan

MEMBERS = {"cp-1": "10.0.0.11", "cp-2": "10.0.0.12", "cp-3": "10.0.0.13"}
GOOD: dict[str, Any] = {
    "mode": "haproxy",
    "members": MEMBERS,
    "machines": {**MEMBERS, "worker-1": "10.0.0.21", "named": "worker-2.example"},
    "vip": "10.0.0.100",
    "port": 8443,
    "pod_subnet": "10.244.0.0/16,fd00:1::/56",
    "service_subnet": "10.96.0.0/12",
}


def test_good_settings_have_no_problem_and_an_endpoint() -> None:
    assert plan.plan(GOOD) == {"endpoint": "10.0.0.100:8443", "problems": []}


def test_numbers_may_be_texts_as_ansible_has_them() -> None:
    assert plan.plan({**GOOD, "port": "8443", "virtual_router_id": "51"})["problems"] == []
    assert "virtual_router_id is 256" in plan.plan({**GOOD, "virtual_router_id": "256"})["problems"][0]


@pytest.mark.parametrize(
    ("given", "endpoint"),
    [
        ({"mode": "none", "members": {"cp-1": "10.0.0.11"}}, "10.0.0.11:6443"),
        ({"mode": "none", "members": {"cp-1": ""}}, ""),
        ({"mode": "none", "members": {}}, ""),
        ({"mode": "external", "external": "api.example:443"}, "api.example:443"),
        ({"mode": "kube_vip", "port": 6443}, "10.0.0.100:6443"),
        ({"name": "api.example"}, "api.example:8443"),
        ({"vip": "fd00::100", "members": {"cp-1": "fd00::11"}, "machines": {}}, "[fd00::100]:8443"),
    ],
)
def test_the_endpoint_of_each_mode(given: dict[str, Any], endpoint: str) -> None:
    assert plan.plan({**GOOD, **given}) == {"endpoint": endpoint, "problems": []}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"mode": "none"}, "3 control planes (cp-1, cp-2, cp-3) need one address in front"),
        ({"vip": ""}, "control_plane_endpoint_vip is not set: cp-1, cp-2, cp-3 need a virtual address"),
        ({"vip": "10.0.0.100/24"}, "is '10.0.0.100/24', expected an address without a prefix"),
        ({"vip": "127.0.0.1"}, "is 127.0.0.1, which is reserved"),
        ({"vip": "10.0.0.12"}, "the address of cp-2 itself"),
        ({"vip": "10.0.0.21"}, "the address of worker-1 itself"),
        ({"vip": "10.244.7.7"}, "lies in the pod range 10.244.0.0/16"),
        ({"vip": "10.96.0.10"}, "lies in the service range 10.96.0.0/12"),
        (
            {"members": {"cp-1": "cp-1.example"}},
            "cp-1 has the address 'cp-1.example', expected an IP address",
        ),
        ({"vip": "fd00::100", "members": {"cp-1": "10.0.0.11"}}, "expected both to be IPv4, or both IPv6"),
        (
            {"port": 6443},
            "control_plane_endpoint_port is 6443, the port of the API server on the same machine",
        ),
        ({"port": 2379}, "the port of etcd on the same machine"),
        ({"port": 8404}, "the port of HAProxy's own checks on the same machine"),
        ({"port": 70000}, "is 70000, expected 1 to 65535"),
        ({"name": "-api"}, "control_plane_endpoint_name is '-api', expected a DNS name"),
        ({"mode": "kube_vip"}, "control_plane_endpoint_port is 8443, expected 6443: with kube-vip"),
        ({"mode": "external"}, "control_plane_endpoint_external is '', expected HOST:PORT"),
        ({"mode": "external", "external": "https://api.example:6443"}, "expected HOST:PORT"),
    ],
)
def test_each_problem_is_named_with_what_to_do(given: dict[str, Any], words: str) -> None:
    problems = plan.plan({**GOOD, **given})["problems"]
    assert len(problems) == 1
    assert words in problems[0]
    assert problems[0].endswith(".")


def test_all_problems_are_told_at_once() -> None:
    found = plan.plan({**GOOD, "vip": "10.96.0.10", "port": 6443, "virtual_router_id": 0})["problems"]
    assert len(found) == 3


BEFORE = plan.Seen(leads=False, ready=False, files=[])


@pytest.mark.parametrize(
    ("seen", "first", "super_admin", "kubeconfig"),
    [
        # Before the cluster is made, or while it is being made.
        (BEFORE, True, True, plan.SUPER_ADMIN),
        (BEFORE, True, False, plan.ADMIN),
        (BEFORE, False, True, ""),
        (BEFORE._replace(files=[plan.ADMIN, plan.SUPER_ADMIN]), True, True, plan.SUPER_ADMIN),
        (BEFORE._replace(files=[plan.ADMIN, plan.SUPER_ADMIN], ready=True), True, True, plan.SUPER_ADMIN),
        # A control plane of a cluster, the one that made it or another.
        (plan.Seen(True, True, [plan.ADMIN, plan.SUPER_ADMIN], plan.SUPER_ADMIN), True, True, plan.ADMIN),
        (plan.Seen(True, True, [plan.ADMIN], ""), False, True, plan.ADMIN),
        # Its API server does not answer: what is there stays.
        (plan.Seen(False, False, [plan.ADMIN], plan.ADMIN), True, True, plan.ADMIN),
        (plan.Seen(False, False, [plan.ADMIN], plan.ADMIN), False, True, plan.ADMIN),
        (
            plan.Seen(False, False, [plan.ADMIN, plan.SUPER_ADMIN], plan.SUPER_ADMIN),
            True,
            True,
            plan.SUPER_ADMIN,
        ),
        # admin.conf has lost its rights, and super-admin.conf was put away.
        (plan.Seen(False, True, [plan.ADMIN], plan.ADMIN), True, True, plan.ADMIN),
    ],
)
def test_kube_vip_uses_what_has_rights_by_then(
    seen: plan.Seen, first: bool, super_admin: bool, kubeconfig: str
) -> None:
    assert plan.kube_vip_kubeconfig(seen, first, super_admin) == kubeconfig


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("10.0.0.100:8443", ("10.0.0.100", 8443)),
        ("https://10.0.0.100:8443", ("10.0.0.100", 8443)),
        ("https://api.example:6443/", ("api.example", 6443)),
        ("[fd00::1]:6443", ("fd00::1", 6443)),
        ("https://[fd00::1]:6443", ("fd00::1", 6443)),
        ("fd00::1", None),
        ("api.example", None),
        ("api.example:", None),
        ("api.example:0", None),
        ("api.example:65536", None),
        ("[api.example]:6443", None),
        ("api example:6443", None),
        ("", None),
    ],
)
def test_host_and_port_are_read(text: str, parts: tuple[str, int] | None) -> None:
    assert plan.split_endpoint(text) == parts
    if parts:
        assert plan.split_endpoint(plan.join_endpoint(*parts)) == parts
