# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of a PXE server, completed and checked as a whole."""

from __future__ import annotations

from typing import Any

import pytest

from kubestead.model.pxe_plan import pxe_server_machines, pxe_server_plan

FACTS: dict[str, Any] = {
    "interfaces": ["lo", "eth0", "br-lan"],
    "default_ipv4": {"address": "10.0.0.2", "interface": "eth0", "gateway": "10.0.0.1"},
    "lo": {"ipv4": {"address": "127.0.0.1", "netmask": "255.0.0.0"}},
    "eth0": {
        "ipv4": {"address": "10.0.0.2", "netmask": "255.255.255.0"},
        "ipv4_secondaries": [{"address": "10.0.0.10", "netmask": "255.255.255.0"}],
    },
    "br_lan": {"ipv4": {"address": "192.168.7.1", "netmask": "255.255.255.0"}},
}
MACHINES = [
    {"mac": "52-54-00-77-00-12", "hostname": "cp-2", "ip": "10.0.0.12"},
    {"mac": "52:54:00:77:00:11", "hostname": "cp-1", "ip": "10.0.0.11"},
    {"mac": "52:54:00:77:00:13"},
]
GOOD: dict[str, Any] = {
    "dhcp": "dnsmasq",
    "range": ["10.0.0.200", "10.0.0.209"],
    "lease_time": 43200,
    "machines": MACHINES,
}


def plan(**settings: Any) -> dict[str, Any]:
    """GOOD with other settings."""
    return pxe_server_plan({**GOOD, **settings}, FACTS)


def test_what_is_not_set_is_the_machine_s_own() -> None:
    found = plan()
    assert found["problems"] == []
    assert (found["interface"], found["address"], found["network"]) == ("eth0", "10.0.0.2", "10.0.0.0/24")
    assert (found["router"], found["dns"]) == ("10.0.0.1", ["10.0.0.1"])
    assert (found["first"], found["last"], found["netmask"]) == ("10.0.0.200", "10.0.0.209", "255.255.255.0")
    assert [one["mac"][-2:] for one in found["machines"]] == ["11", "12", "13"]
    assert found["machines"][2] == {"mac": "52:54:00:77:00:13", "hostname": "", "ip": ""}


def test_a_second_address_finds_its_interface() -> None:
    found = plan(address="10.0.0.10", dns=["9.9.9.9"], domain="home.arpa")
    assert found["problems"] == []
    assert (found["interface"], found["address"], found["dns"]) == ("eth0", "10.0.0.10", ["9.9.9.9"])


def test_an_interface_finds_its_address_and_no_router_of_another_network() -> None:
    found = plan(interface="br-lan", range=["192.168.7.10", "192.168.7.19"], machines=[])
    assert found["problems"] == []
    assert (found["address"], found["network"], found["router"]) == ("192.168.7.1", "192.168.7.0/24", "")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"dhcp": "dhcpd"}, "pxe_server_dhcp is 'dhcpd', expected one of dnsmasq, kea, isc, proxy, none."),
        (
            {"address": "10.0.0.77"},
            "expected one of this machine's addresses (127.0.0.1 on lo, 10.0.0.2 on eth0",
        ),
        ({"interface": "eth9"}, "'eth9', expected one of this machine's interfaces (br-lan, eth0)"),
        ({"address": "10.0.0.10", "interface": "br-lan"}, "expected eth0, which has the address 10.0.0.10"),
        ({"network": "10.0.0.1/24"}, "expected a network such as 10.0.0.0/24"),
        ({"network": "10.0.1.0/24"}, "expected one that has the server's address 10.0.0.2 in it"),
        ({"range": ["10.0.0.200"]}, "the first and the last address"),
        ({"range": ["10.0.0.200", "10.0.1.9"]}, "'10.0.1.9', expected an address in 10.0.0.0/24"),
        ({"range": ["10.0.0.209", "10.0.0.200"]}, "expected the lower address first"),
        ({"range": ["10.0.0.200", "10.0.0.255"]}, "an address of 10.0.0.0/24 that a machine can have"),
        ({"range": ["10.0.0.12", "10.0.0.20"]}, "has 10.0.0.12 of cp-2 in it"),
        ({"range": ["10.0.0.1", "10.0.0.9"]}, "has 10.0.0.1 of the router in it"),
        ({"range": [], "machines": []}, "expected a range for unknown machines, or pxe_server_machines"),
        ({"router": "10.0.1.1"}, "pxe_server_router is '10.0.1.1', expected an address in 10.0.0.0/24."),
        ({"router": "home"}, "pxe_server_router is 'home', expected an IPv4 address."),
        ({"dns": ["one"]}, "pxe_server_dns is 'one', expected an IPv4 address."),
        ({"domain": "home arpa"}, "expected a domain"),
        ({"domain": 'x";}'}, "expected a domain"),
        ({"lease_time": 5}, "pxe_server_lease_time is 5, expected seconds"),
        ({"machines": [{"mac": "5"}]}, "'5' is not a MAC address"),
        ({"machines": [{"mac": "01:00:5e:00:00:01"}]}, "is a group's address"),
        ({"machines": [{"mac": "52:54:00:77:00:11", "hostname": "a b"}]}, "expected a host name"),
        (
            {"machines": [{"mac": "52:54:00:77:00:11", "ip": "10.9.0.1"}]},
            "expected an address in 10.0.0.0/24",
        ),
        ({"machines": [{"mac": "52:54:00:77:00:11", "ip": "10.0.0.2"}]}, "which is the server's"),
        ({"machines": [MACHINES[0], {**MACHINES[1], "ip": "10.0.0.12"}]}, "have the same address 10.0.0.12."),
        (
            {"machines": [MACHINES[0], {**MACHINES[0], "ip": "10.0.0.9"}]},
            "have the same MAC 52:54:00:77:00:12.",
        ),
    ],
)
def test_each_problem_is_named(settings: dict[str, Any], expected: str) -> None:
    problems = plan(**settings)["problems"]
    assert [problem for problem in problems if expected in problem], problems


def test_all_problems_are_named_at_once() -> None:
    assert len(plan(router="10.0.1.1", lease_time=1, domain="-", dhcp="x")["problems"]) == 4


@pytest.mark.parametrize("kind", ["proxy", "none"])
def test_who_hands_out_no_addresses_needs_no_range(kind: str) -> None:
    assert (
        plan(dhcp=kind, range=[], machines=[{"mac": MACHINES[0]["mac"], "ip": "10.9.0.1"}])["problems"] == []
    )


def test_a_machine_of_which_nothing_is_known() -> None:
    found = pxe_server_plan(GOOD, {})
    assert found["address"] == ""
    assert any("none is known" in problem for problem in found["problems"])


def test_reservations_are_the_registry_s_machines() -> None:
    records = [
        {"mac": "52:54:00:77:00:11", "hostname": "cp-1", "ip": "10.0.0.11", "role": "worker"},
        {"hostname": "x"},
    ]
    assert pxe_server_machines(records) == [
        {"mac": "52:54:00:77:00:11", "hostname": "cp-1", "ip": "10.0.0.11"}
    ]
