# SPDX-License-Identifier: GPL-3.0-or-later
"""Three control planes and a worker: made, run again, without the first one, and with it back.

The tests of this file are one story and run in order.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from kubestead.exit_codes import ExitCode
from tests.e2e.cluster_lab import eventually
from tests.e2e.ha_lab import (
    CONTROL_PLANES,
    FIRST,
    NODES,
    SECOND,
    THIRD,
    VIRTUAL_ADDRESS,
    WORKER,
    HighlyAvailable,
    changes,
    trips,
)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

MOST_TRIPS = 25


@pytest.fixture(scope="module")
def cluster() -> Iterator[HighlyAvailable]:
    one = HighlyAvailable("e2e-ha")
    with one.standing():
        yield one


@pytest.fixture(scope="module")
def deployed(cluster: HighlyAvailable) -> HighlyAvailable:
    outcome = cluster.play()
    assert outcome.code == ExitCode.DONE, outcome.message
    return cluster


def test_all_of_them_are_nodes_and_etcd_has_three_votes(deployed: HighlyAvailable) -> None:
    assert deployed.nodes(SECOND) == dict.fromkeys(NODES, True)
    assert deployed.members(THIRD) == dict.fromkeys(CONTROL_PLANES, True)


def test_its_dns_outlives_a_node(deployed: HighlyAvailable) -> None:
    assert len(deployed.dns_nodes(SECOND)) == 2


def test_everybody_reaches_the_api_by_the_shared_address(deployed: HighlyAvailable) -> None:
    for node, config in ((WORKER, "kubelet.conf"), (FIRST, "admin.conf"), (THIRD, "admin.conf")):
        assert f"https://{VIRTUAL_ADDRESS}:" in deployed.on(node, "cat", f"/etc/kubernetes/{config}")


def test_what_a_join_took_is_gone_and_in_no_log(deployed: HighlyAvailable) -> None:
    secrets = deployed.kubectl(FIRST, "get", "secrets", "-n", "kube-system", "-o", "name").split()
    assert "secret/kubeadm-certs" not in secrets
    tokens = ["--field-selector", "type=bootstrap.kubernetes.io/token"]
    wanted = ["-o", "jsonpath={.items[*].data.description}"]
    descriptions = deployed.kubectl(FIRST, "get", "secrets", "-n", "kube-system", *tokens, *wanted)
    assert descriptions == ""
    for node in NODES - {FIRST}:
        log = deployed.on(node, "cat", "/var/log/kubeadm-join.log")
        assert "<token>" in log or "token" not in log
    assert "certificateKey" not in (deployed.lab.folder / "ansible.log").read_text()


def test_secrets_are_sealed_and_who_asks_is_written_down_everywhere(deployed: HighlyAvailable) -> None:
    deployed.kubectl(SECOND, "create", "secret", "generic", "sealed", "--from-literal=word=xyzzy")
    try:
        for node in CONTROL_PLANES:
            found = deployed.on(node, "sh", "-c", "cat /var/lib/etcd/member/wal/* | grep -ac xyzzy || true")
            assert found.strip() == "0"
        word = deployed.kubectl(THIRD, "get", "secret", "sealed", "-o", "jsonpath={.data.word}")
        assert word == "eHl6enk="
        # The shared address hands the request to any of them.
        written = [deployed.on(node, "cat", "/var/log/kubernetes/audit/audit.log") for node in CONTROL_PLANES]
        assert all(written)
        assert any('"name":"sealed"' in log for log in written)
        assert not any("xyzzy" in log or word in log for log in written)
        keys = {
            deployed.on(node, "sha256sum", "/etc/kubernetes/api-server/encryption.yaml")
            for node in CONTROL_PLANES
        }
        assert len(keys) == 1
    finally:
        deployed.kubectl(SECOND, "delete", "secret", "sealed")


def test_the_second_run_changes_nothing(deployed: HighlyAvailable) -> None:
    outcome = deployed.play()
    assert outcome.code == ExitCode.DONE, outcome.message
    assert changes(outcome) == {}
    print(f"round trips: {trips(outcome)}")
    assert max(trips(outcome).values()) <= MOST_TRIPS


def test_without_the_first_one_the_plain_command_goes_on(deployed: HighlyAvailable) -> None:
    # Before the plain command gives them back, no name of the cluster is known.
    deployed.crowd_dns(FIRST)
    deployed.lab.node_cut(FIRST)
    assert eventually(lambda: deployed.sees_lost(SECOND, FIRST))
    # The worker is to be made anew meanwhile: its token comes from another control plane.
    deployed.on(WORKER, "systemctl", "stop", "kubelet")
    outcome = deployed.play()
    assert outcome.code == ExitCode.FAILED
    assert outcome.summary["hosts"][FIRST]["unreachable"]
    failed = [host for host, counts in outcome.summary["hosts"].items() if counts["failed"]]
    assert failed == [], outcome.message
    assert deployed.nodes(SECOND) == {**dict.fromkeys(NODES, True), FIRST: False}
    assert deployed.dns_nodes(SECOND) - {FIRST}


def test_when_it_is_back_nothing_has_to_be_done(deployed: HighlyAvailable) -> None:
    deployed.lab.node_start(FIRST)
    assert eventually(lambda: deployed.nodes(SECOND)[FIRST])
    outcome = deployed.play()
    assert outcome.code == ExitCode.DONE, outcome.message
    assert deployed.members(FIRST) == dict.fromkeys(CONTROL_PLANES, True)
