# SPDX-License-Identifier: GPL-3.0-or-later
"""What Calico's operator and Cilium's chart are told: the role's templates."""

from __future__ import annotations

import pytest

from tests.unit.pod_network_templates import CALICO, CILIUM, render


def test_calico_gets_the_range_of_the_pods() -> None:
    [installation] = render("calico.yaml.j2", CALICO)
    network = installation["spec"]["calicoNetwork"]
    [pool] = network["ipPools"]
    assert (pool["cidr"], pool["encapsulation"], pool["blockSize"]) == ("10.244.0.0/16", "VXLAN", 26)
    assert network["bgp"] == "Disabled"
    assert "nodeAddressAutodetectionV6" not in network
    assert "mtu" not in network


def test_calico_with_both_families_and_more() -> None:
    more = {
        "cni_pod_subnet": "10.244.0.0/16, fd00:1::/48",
        "cni_mtu": 1400,
        "cni_calico_api_server": True,
        "cni_calico_installation": {"calicoNetwork": {"hostPorts": "Disabled"}, "nodeMetricsPort": 9091},
    }
    installation, server = render("calico.yaml.j2", {**CALICO, **more})
    network = installation["spec"]["calicoNetwork"]
    assert [pool["name"] for pool in network["ipPools"]] == ["default-ipv4-ippool", "default-ipv6-ippool"]
    assert network["nodeAddressAutodetectionV6"] == {"kubernetes": "NodeInternalIP"}
    assert (network["mtu"], network["hostPorts"], installation["spec"]["nodeMetricsPort"]) == (
        1400,
        "Disabled",
        9091,
    )
    assert server["kind"] == "APIServer"


def test_cilium_as_it_comes() -> None:
    [values] = render("cilium-values.yaml.j2", CILIUM)
    assert values["encryption"] == {"enabled": True, "type": "wireguard"}
    assert values["hubble"]["relay"] == {"enabled": True}
    assert values["kubeProxyReplacement"] is False
    assert "k8sServiceHost" not in values
    assert "image" not in values
    assert values["operator"]["replicas"] == 1


@pytest.mark.parametrize(
    ("noted", "host", "port"),
    [("10.0.0.9:8443", "10.0.0.9", 8443), ("[fd00::9]:6443", "fd00::9", 6443), ("", "10.0.0.11", 6443)],
)
def test_cilium_instead_of_kube_proxy_reaches_the_api_as_nodes_do(noted: str, host: str, port: int) -> None:
    more = {"cni_cilium_kube_proxy_replacement": True, "__cni_seen": {"endpoint": noted}}
    [values] = render("cilium-values.yaml.j2", {**CILIUM, **more})
    assert (values["k8sServiceHost"], values["k8sServicePort"]) == (host, port)


@pytest.mark.parametrize(
    ("word", "gateway", "ingress"),
    [("none", False, False), ("gateway", True, False), ("ingress", False, True)],
)
def test_one_switch_for_gateway_and_ingress(word: str, gateway: bool, ingress: bool) -> None:
    [values] = render("cilium-values.yaml.j2", {**CILIUM, "cni_cilium_gateway": word})
    assert (values["gatewayAPI"]["enabled"], values["ingressController"]["enabled"]) == (gateway, ingress)


def test_images_of_a_bundle_are_named_in_full() -> None:
    [values] = render("cilium-values.yaml.j2", {**CILIUM, "cni_cilium_image_digests": False})
    assert values["image"]["override"] == "mirror/cilium:v1"
    assert values["operator"]["image"]["override"] == "mirror/cilium_operator:v1"
    assert values["envoy"]["image"]["override"] == "mirror/cilium_envoy:v1"
    assert values["hubble"]["relay"]["image"]["override"] == "mirror/hubble_relay:v1"


def test_a_policy_a_node_and_one_pool() -> None:
    more = {
        "cni_cilium_l2_announcements": True,
        "cni_cilium_l2_interfaces": ["^en.*"],
        "cni_members": ["cp-1", "w-1"],
        "cni_load_balancer_ranges": ["10.0.0.64/28", "10.0.1.1 - 10.0.1.9"],
    }
    pool, *policies = render("cilium-l2.yaml.j2", {**CILIUM, **more})
    assert pool["spec"]["blocks"] == [{"cidr": "10.0.0.64/28"}, {"start": "10.0.1.1", "stop": "10.0.1.9"}]
    assert [one["metadata"]["name"] for one in policies] == ["kubestead-cp-1", "kubestead-w-1"]
    assert policies[1]["spec"]["nodeSelector"] == {"matchLabels": {"kubernetes.io/hostname": "w-1"}}
    assert {one["spec"]["interfaces"][0] for one in policies} == {"^en.*"}
    assert render("cilium-l2.yaml.j2", CILIUM) == []
