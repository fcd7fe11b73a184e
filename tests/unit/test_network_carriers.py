# SPDX-License-Identifier: GPL-3.0-or-later
"""How a machine's pod network carries packets."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.collection_sample import load

network_carriers = load("filter.network_carriers").network_carriers


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({}, ["vxlan"]),
        ({"cni_flannel_backend": {"Type": "host-gw"}}, ["host-gw"]),
        ({"cni_plugin": "cilium"}, ["wireguard"]),
        ({"cni_plugin": "cilium", "cni_cilium_wireguard": "false"}, []),
        ({"cni_plugin": "calico"}, ["vxlan"]),
        ({"cni_plugin": "calico", "cni_calico_encapsulation": "IPIPCrossSubnet"}, ["ipip", "bgp"]),
        ({"cni_plugin": "calico", "cni_calico_encapsulation": "None"}, ["bgp"]),
        (
            {"cni_plugin": "calico", "cni_calico_encapsulation": "VXLAN", "cni_calico_bgp": True},
            ["vxlan", "bgp"],
        ),
        ({"cni_plugin": "none"}, []),
    ],
)
def test_carriers(variables: dict[str, Any], found: list[str]) -> None:
    assert network_carriers(variables) == found
