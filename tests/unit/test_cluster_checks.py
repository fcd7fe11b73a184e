# SPDX-License-Identifier: GPL-3.0-or-later
"""DNS by hand, and the list of checks."""

from __future__ import annotations

import socket
import struct
import threading

import pytest

from kubestead.model import cluster_checks as checks


def reply_to(query: bytes, address: str, flags: int = 0x8180) -> bytes:
    """An answer with one CNAME, then the address, names compressed."""
    head = query[:2] + struct.pack(">HHHHH", flags, 1, 2, 0, 0)
    alias = b"\xc0\x0c" + struct.pack(">HHIH", 5, 1, 30, 2) + b"\xc0\x0c"
    return (
        head
        + query[12:]
        + alias
        + b"\xc0\x0c"
        + struct.pack(">HHIH", 1, 1, 30, 4)
        + socket.inet_aton(address)
    )


def test_a_name_is_resolved_by_one_packet() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def serve() -> None:
            query, client = server.recvfrom(512)
            assert b"\x0akubernetes\x07default" in query
            server.sendto(reply_to(query, "10.96.0.1"), client)

        thread = threading.Thread(target=serve)
        thread.start()
        found = checks.resolve(
            "127.0.0.1", "kubernetes.default.svc.cluster.local", port=server.getsockname()[1]
        )
        thread.join()
    assert found == ["10.96.0.1"]


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (b"", "cannot be read"),
        (b"\0\1\x81\x80\0\1\0\1\0\0\0\0\x09", "cannot be read"),
        (b"\0\2\x81\x80\0\0\0\0\0\0\0\0", "not an answer"),
        (b"\0\1\x81\x83\0\0\0\0\0\0\0\0", "DNS error 3"),
    ],
)
def test_a_wrong_answer_is_explained(reply: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        checks.dns_addresses(reply, 1)


def test_service_addresses_are_those_that_kubernetes_takes() -> None:
    assert checks.service_address("10.96.0.0/12", 1) == "10.96.0.1"
    assert checks.service_address("10.96.0.0/12,fd00::/112", 10) == "10.96.0.10"


def pod(name: str, app: str, ready: str) -> dict[str, object]:
    """A pod of kube-system."""
    return {
        "metadata": {"name": name, "labels": {"k8s-app": app}},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]},
    }


def test_system_pods_have_to_be_there_and_ready() -> None:
    assert checks.check_system_pods([pod("c", "kube-dns", "True"), pod("p", "kube-proxy", "True")], ["n"]).ok
    found = checks.check_system_pods([pod("c", "kube-dns", "False")], ["n"])
    assert not found.ok
    assert found.detail == "kube-proxy is missing; c is not ready"


def test_cilium_may_do_the_work_of_kube_proxy() -> None:
    assert checks.check_system_pods([pod("c", "kube-dns", "True"), pod("a", "cilium", "True")], ["n"]).ok


def test_a_deployment_has_a_line_where_there_was_one() -> None:
    work = [checks.Check(checks.WORKLOAD, True, "created, deleted")]
    assert checks.report({"the cluster": checks.as_dicts(work)})[-1] == "✔ a deployment: created, deleted"


def test_pods_of_a_machine_that_is_switched_off_do_not_count() -> None:
    pods = [pod("c", "kube-dns", "True"), pod("p", "kube-proxy", "True"), pod("q", "kube-proxy", "False")]
    pods[2]["spec"] = {"nodeName": "off"}
    assert checks.check_system_pods(pods, ["n"]).ok
    assert not checks.check_system_pods(pods, ["n", "off"]).ok


def test_workers_that_took_no_part_are_named() -> None:
    question = checks.Question("", "", "", workers=["w-1"], absent=["w-2"])
    found = checks.check_workers(question, {"w-1"})
    assert (found.ok, found.warning, found.detail) == (True, True, "1 of 2; not in this run: w-2")
    assert not checks.check_workers(question, set()).ok


def test_the_list_has_a_line_for_each_check() -> None:
    good = [checks.Check(name, True, "good") for name in checks.ORDER]
    bad = [checks.Check(checks.NETWORK, False, "no answer")]
    soon = [checks.Check(checks.CERTIFICATES, True, "ends in 3 days", warning=True)]
    lines = checks.report(
        {"cp-1": checks.as_dicts(good), "w-1": checks.as_dicts(bad), "w-2": checks.as_dicts(soon)}
    )
    assert len(lines) == len(checks.ORDER) == 7
    assert lines[0] == "✔ nodes Ready: good"
    assert "✘ pod network: w-1: no answer" in lines
    assert "! certificates: w-2: ends in 3 days" in lines


def test_a_check_that_nobody_did_is_not_passed() -> None:
    assert all(line.startswith("✘") for line in checks.report({}))
