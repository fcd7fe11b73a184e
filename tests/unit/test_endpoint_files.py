# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a virtual address."""

from __future__ import annotations

import json

from kubestead.model import endpoint_files as files
from kubestead.model.endpoint_files import Virtual

HERE = Virtual(
    name="cp-2",
    members={"cp-2": "10.0.0.12", "cp-1": "10.0.0.11", "cp-3": "10.0.0.13"},
    vip="10.0.0.100",
    port=8443,
    interface="eth0",
    virtual_router_id=7,
)


def environment(manifest: str) -> dict[str, object]:
    """What kube-vip is given."""
    container = json.loads(manifest.split("\n", 1)[1])["spec"]["containers"][0]
    return {entry["name"]: entry.get("value") for entry in container["env"]}


def test_haproxy_asks_each_member_and_is_the_same_on_all() -> None:
    text = files.haproxy_config(HERE)
    assert "    server cp-1 10.0.0.11:6443\n    server cp-2 10.0.0.12:6443\n" in text
    assert "bind *:8443\n" in text
    assert "bind 127.0.0.1:8404\n" in text
    assert "monitor fail if { nbsrv(kubernetes-api) lt 1 }" in text
    assert text == files.haproxy_config(HERE._replace(name="cp-1"))


def test_keepalived_talks_to_the_others_only() -> None:
    text = files.keepalived_config(HERE)
    assert "unicast_src_ip 10.0.0.12\n" in text
    assert "unicast_peer {\n        10.0.0.11\n        10.0.0.13\n    }\n" in text
    assert "virtual_router_id 7\n" in text
    assert "    virtual_ipaddress {\n        10.0.0.100/32\n    }\n" in text
    assert f'script "{files.CHECK_FILE} alive"' in text


def test_keepalived_alone_has_no_peers() -> None:
    text = files.keepalived_config(HERE._replace(members={"cp-2": "10.0.0.12"}))
    assert "peer" not in text
    assert "check_unicast_src" not in text


def test_ipv6_is_written_as_each_program_reads_it() -> None:
    six = HERE._replace(members={"cp-2": "fd00::12", "cp-1": "fd00::11"}, vip="fd00::100")
    assert "server cp-1 [fd00::11]:6443" in files.haproxy_config(six)
    assert "bind :::8443\n" in files.haproxy_config(six)
    assert "fd00::100/128" in files.keepalived_config(six)
    assert environment(files.kube_vip_manifest(six, "image", "/a"))["vip_subnet"] == "128"


def test_kube_vip_uses_the_kubeconfig_that_it_is_given() -> None:
    text = files.kube_vip_manifest(
        HERE._replace(port=6443), "registry.example/kube-vip:v1", "/etc/kubernetes/super-admin.conf"
    )
    pod = json.loads(text.split("\n", 1)[1])["spec"]
    assert files.kubeconfig_of(text) == "/etc/kubernetes/super-admin.conf"
    assert files.kubeconfig_of("") == ""
    assert pod["volumes"][0]["hostPath"] == {"path": "/etc/kubernetes/super-admin.conf", "type": "File"}
    assert pod["containers"][0]["volumeMounts"][0]["mountPath"] == "/etc/kubernetes/admin.conf"
    assert pod["containers"][0]["image"] == "registry.example/kube-vip:v1"
    assert pod["hostAliases"] == [{"ip": "127.0.0.1", "hostnames": ["kubernetes"]}]
    given = environment(text)
    assert given["address"] == "10.0.0.100"
    assert given["port"] == "6443"
    # Its own machine's API server, by the alias: the kubeconfig names the address that is not up yet.
    assert given["kubernetes_addr"] == "kubernetes:6443"
    assert given["vip_interface"] == "eth0"


def test_our_files_are_known_with_their_addresses() -> None:
    for text in (files.keepalived_config(HERE), files.kube_vip_manifest(HERE, "image", "/a")):
        assert files.is_ours(text)
        assert files.addresses_of(text) == ["10.0.0.100"]
    assert files.is_ours(files.haproxy_config(HERE))
    assert files.addresses_of(files.haproxy_config(HERE)) == []
    assert files.is_ours(files.check_script(HERE))
    assert not files.is_ours(None)
    assert not files.is_ours("global\n    daemon\n" + files.MARK)
