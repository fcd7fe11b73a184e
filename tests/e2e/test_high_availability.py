# SPDX-License-Identifier: GPL-3.0-or-later
"""Three control planes and a worker: made, run again, without the first one, and with it back.

The tests of this file are one story and run in order.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from kubestead.exit_codes import ExitCode
from tests.e2e.cluster_lab import eventually
from tests.e2e.ha_lab import CONTROL_PLANES, VIRTUAL_ADDRESS, WORKERS, HighlyAvailable, changes, trips

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

FIRST, SECOND, THIRD = CONTROL_PLANES
[WORKER] = WORKERS
NODES = {*CONTROL_PLANES, *WORKERS}
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


def sees_lost(cluster: HighlyAvailable, asked: str, node: str) -> bool:
    """Whether the others say that a node is gone; while the shared address moves nobody says anything."""
    try:
        return not cluster.nodes(asked)[node]
    except AssertionError:
        return False


def dns_nodes(cluster: HighlyAvailable, asked: str) -> set[str]:
    """The nodes that the pods of the cluster's DNS are on."""
    wanted = ["-o", "jsonpath={.items[*].spec.nodeName}"]
    return set(
        cluster.kubectl(asked, "get", "pods", "-n", "kube-system", "-l", "k8s-app=kube-dns", *wanted).split()
    )


def crowd_dns(cluster: HighlyAvailable, node: str) -> None:
    """Put every pod of the cluster's DNS on one node."""
    others = sorted(NODES - {node})
    cluster.kubectl(SECOND, "cordon", *others)
    cluster.kubectl(SECOND, "delete", "pods", "-n", "kube-system", "-l", "k8s-app=kube-dns")
    assert eventually(lambda: dns_nodes(cluster, SECOND) == {node})
    cluster.kubectl(SECOND, "uncordon", *others)


def members(cluster: HighlyAvailable, asked: str) -> dict[str, bool]:
    """The members of etcd, and whether each has a vote."""
    pki = "/etc/kubernetes/pki"
    who = ["--cert", f"{pki}/apiserver-etcd-client.crt", "--key", f"{pki}/apiserver-etcd-client.key"]
    url = "https://127.0.0.1:2379/v3/cluster/member/list"
    answer = cluster.on(
        asked, "curl", "--silent", "--cacert", f"{pki}/etcd/ca.crt", *who, "--data", "{}", url
    )
    return {one["name"]: not one.get("isLearner") for one in json.loads(answer)["members"]}


def test_all_of_them_are_nodes_and_etcd_has_three_votes(deployed: HighlyAvailable) -> None:
    assert deployed.nodes(SECOND) == dict.fromkeys(NODES, True)
    assert members(deployed, THIRD) == dict.fromkeys(CONTROL_PLANES, True)


def test_its_dns_outlives_a_node(deployed: HighlyAvailable) -> None:
    assert len(dns_nodes(deployed, SECOND)) == 2


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


def test_an_administrator_without_rights_gets_them_back(deployed: HighlyAvailable) -> None:
    deployed.kubectl(SECOND, "delete", "clusterrolebinding", "kubeadm:cluster-admins")
    outcome = deployed.play("control_plane")
    assert outcome.code == ExitCode.DONE, outcome.message
    assert deployed.nodes(SECOND) == dict.fromkeys(NODES, True)
    assert changes(deployed.play("control_plane")) == {}


def test_without_the_first_one_the_plain_command_goes_on(deployed: HighlyAvailable) -> None:
    # Before the plain command gives them back, no name of the cluster is known.
    crowd_dns(deployed, FIRST)
    deployed.lab.node_cut(FIRST)
    assert eventually(lambda: sees_lost(deployed, SECOND, FIRST))
    # The worker is to be made anew meanwhile: its token comes from another control plane.
    deployed.on(WORKER, "systemctl", "stop", "kubelet")
    outcome = deployed.play()
    assert outcome.code == ExitCode.FAILED
    assert outcome.summary["hosts"][FIRST]["unreachable"]
    failed = [host for host, counts in outcome.summary["hosts"].items() if counts["failed"]]
    assert failed == [], outcome.message
    assert deployed.nodes(SECOND) == {**dict.fromkeys(NODES, True), FIRST: False}
    assert dns_nodes(deployed, SECOND) - {FIRST}


def test_when_it_is_back_nothing_has_to_be_done(deployed: HighlyAvailable) -> None:
    deployed.lab.node_start(FIRST)
    assert eventually(lambda: deployed.nodes(SECOND)[FIRST])
    outcome = deployed.play()
    assert outcome.code == ExitCode.DONE, outcome.message
    assert members(deployed, FIRST) == dict.fromkeys(CONTROL_PLANES, True)


def test_one_that_comes_back_empty_is_named_and_not_guessed_at(deployed: HighlyAvailable) -> None:
    deployed.on(FIRST, "kubeadm", "reset", "--force", "--skip-phases=remove-etcd-member", timeout=180)
    deployed.on(FIRST, "rm", "-rf", "/etc/kubernetes/api-server", "/etc/kubernetes/kubestead-init.json")
    outcome = deployed.play("control_plane")
    assert outcome.code == ExitCode.FAILED
    assert f"remove_node={FIRST}" in outcome.message
    assert members(deployed, SECOND) == dict.fromkeys(CONTROL_PLANES, True)


def test_it_is_taken_out_when_told_so_and_joins_anew(deployed: HighlyAvailable) -> None:
    told = ["-e", f"remove_node={FIRST}", "-e", "remove_node_confirm=true"]
    outcome = deployed.play("remove_node", told)
    assert outcome.code == ExitCode.DONE, outcome.message
    assert members(deployed, SECOND) == dict.fromkeys([SECOND, THIRD], True)
    assert FIRST not in deployed.nodes(SECOND)
    again = deployed.play("remove_node", told)
    assert again.code == ExitCode.DONE, again.message
    assert changes(again) == {}
    outcome = deployed.play()
    assert outcome.code == ExitCode.DONE, outcome.message
    assert members(deployed, FIRST) == dict.fromkeys(CONTROL_PLANES, True)
    assert deployed.nodes(FIRST) == dict.fromkeys(NODES, True)


def test_a_dead_worker_is_taken_out_and_back_in(deployed: HighlyAvailable) -> None:
    # For most of a minute the API takes it for ready, and its pods never end.
    crowd_dns(deployed, WORKER)
    deployed.lab.node_cut(WORKER)
    outcome = deployed.play("remove_node", ["-e", f"remove_node={WORKER}", "-e", "remove_node_confirm=true"])
    assert outcome.code == ExitCode.DONE, outcome.message
    assert WORKER not in deployed.nodes(SECOND)
    deployed.lab.node_start(WORKER)
    outcome = deployed.play()
    assert outcome.code == ExitCode.DONE, outcome.message
    assert deployed.nodes(SECOND) == dict.fromkeys(NODES, True)
