# SPDX-License-Identifier: GPL-3.0-or-later
"""What is found on a node, and what follows from it."""

from __future__ import annotations

import datetime
import hashlib
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from kubestead.model import node_plan as plan
from kubestead.model.endpoint_files import MARK
from kubestead.model.kubeconfig import KubeconfigError, parse_kubeconfig
from kubestead.model.node_plan import Other, plan_init, plan_join
from kubestead.model.node_state import (
    ClusterView,
    Kubelet,
    Member,
    NodeState,
    Paths,
    not_ready,
    parse_node,
    probe,
)
from kubestead.model.x509 import CertificateError, parse_certificate
from tests.unit.kubeadm_sample import Programs, kubeconfig, make_certificate, put, put_control_plane

RUNNING = {
    "systemctl show": (0, "LoadState=loaded\nActiveState=active\n", ""),
    "kubeadm version": (0, "v1.36.4\n", ""),
}


def test_a_certificate_is_read_as_cryptography_reads_it() -> None:
    pem, _key = make_certificate("system:node:n1", "system:nodes", days=40)
    mine, theirs = parse_certificate(pem), x509.load_pem_x509_certificate(pem)
    spki = theirs.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert mine.pin == "sha256:" + hashlib.sha256(spki).hexdigest()
    assert mine.not_after == datetime.datetime(2026, 2, 10, tzinfo=datetime.timezone.utc)
    assert (mine.common_name, mine.organisations) == ("system:node:n1", ("system:nodes",))


@pytest.mark.parametrize("days", [10, 365 * 40])
def test_both_forms_of_time_are_read(days: int) -> None:
    pem, _key = make_certificate("x", days=days)
    expected = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc) + datetime.timedelta(days=days)
    assert parse_certificate(pem).not_after == expected


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----",
        b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        b"-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----",
    ],
)
def test_what_is_no_certificate_is_said_to_be_none(pem: bytes) -> None:
    with pytest.raises(CertificateError):
        parse_certificate(pem)


def test_a_half_written_certificate_is_said_to_be_none() -> None:
    pem, _key = make_certificate("x")
    lines = pem.splitlines()
    with pytest.raises(CertificateError):
        parse_certificate(b"\n".join([*lines[:3], lines[-1]]))


def test_a_kubeconfig_may_name_files(tmp_path: Path) -> None:
    put(tmp_path, "kubelet.pem", "PEM")
    text = f"- cluster:\n    server: https://h:6443/\n- user:\n    client-key: {tmp_path}/kubelet.pem\n"
    config = parse_kubeconfig(text, tmp_path)
    assert (config.server, config.key) == ("https://h:6443", b"PEM")


def test_a_kubeconfig_without_a_server_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KubeconfigError, match="no server"):
        parse_kubeconfig("", tmp_path)


def test_a_machine_that_has_never_seen_kubernetes(tmp_path: Path) -> None:
    node = probe(Paths(tmp_path), Programs())
    assert (node.state, node.kubeadm_version, node.kubelet.active) == ("none", "", "inactive")
    assert node.as_dict()["api"] == {"livez": 0, "readyz": 0, "healthz": 0}


def test_a_stopped_control_plane(tmp_path: Path) -> None:
    authority, key = make_certificate("kubernetes")
    put_control_plane(tmp_path, authority, key)
    node = probe(Paths(tmp_path), Programs(dict(RUNNING)), port=1)
    assert (node.state, node.name, node.kubeadm_version) == ("control_plane", "cp-1", "1.36.4")
    assert node.ca_pin == node.kubelet_ca_pin == parse_certificate(authority).pin
    assert node.endpoint == "https://10.77.0.11:6443"
    assert node.api["readyz"] == 0
    assert node.api_certificate_expiry.startswith("2027-01-01")


def test_a_worker(tmp_path: Path) -> None:
    authority, _key = make_certificate("kubernetes")
    config = kubeconfig(
        "https://127.0.0.1:1", authority, *make_certificate("system:node:w-1", "system:nodes")
    )
    put(tmp_path, "etc/kubernetes/kubelet.conf", config)
    put(tmp_path, "etc/kubernetes/pki/ca.crt", authority)
    node = probe(Paths(tmp_path), Programs(dict(RUNNING)))
    assert (node.state, node.name, node.member) == ("worker", "w-1", None)
    assert "no answer" in node.member_problem


def test_authorities_that_a_person_brought_are_no_cluster(tmp_path: Path) -> None:
    put(tmp_path, "etc/kubernetes/pki/ca.crt")
    put(tmp_path, "etc/kubernetes/pki/ca.key")
    put(tmp_path, "etc/kubernetes/pki/etcd/ca.crt")
    assert probe(Paths(tmp_path), Programs()).state == "none"


@pytest.mark.parametrize(
    "name",
    [
        "etc/kubernetes/pki/apiserver.crt",
        "etc/kubernetes/manifests/etcd.yaml",
        "etc/kubernetes/admin.conf",
        "etc/kubernetes/bootstrap-kubelet.conf",
        "var/lib/etcd/member/snap/db",
    ],
)
def test_a_part_of_a_node_is_called_a_part(tmp_path: Path, name: str) -> None:
    put(tmp_path, name)
    assert probe(Paths(tmp_path), Programs()).state == "partial"


def test_a_control_plane_without_its_data_is_a_part(tmp_path: Path) -> None:
    put_control_plane(tmp_path, *make_certificate("kubernetes"), data=False)
    assert probe(Paths(tmp_path), Programs(), port=1).state == "partial"


NODE = {
    "metadata": {"name": "w-1", "labels": {}},
    "status": {
        "conditions": [{"type": "Ready", "status": "False", "message": "cni plugin not initialized"}],
        "nodeInfo": {"kubeletVersion": "v1.36.4"},
        "addresses": [{"type": "InternalIP", "address": "10.0.0.2"}, {"type": "Hostname", "address": "w-1"}],
    },
}


def test_a_node_object_is_read() -> None:
    node = parse_node(NODE)
    assert node == Member("w-1", False, "cni plugin not initialized", "v1.36.4", ["10.0.0.2"], False)


def test_nodes_that_are_not_ready_say_why() -> None:
    view = ClusterView(answers=True, nodes=[parse_node(NODE), Member("cp-1", True)])
    assert not_ready(view, ["cp-1", "w-1", "w-2"]) == [
        "w-2 is not in the cluster",
        "w-1: cni plugin not initialized",
    ]
    assert not_ready(ClusterView(problem="refused"), []) == ["the API does not answer (refused)"]


# --- what follows for the first control plane ---------------------------------------------------------------


def running(**more: object) -> NodeState:
    """A control plane that runs."""
    node = NodeState(
        state="control_plane", etcd_data=True, kubelet=Kubelet(True, "active", True), api={"readyz": 200}
    )
    for name, value in more.items():
        setattr(node, name, value)
    return node


def parts(**more: object) -> NodeState:
    """A node with parts of a control plane and no data."""
    node = NodeState(
        state="partial", manifests=["etcd.yaml"], certificates=["ca.crt", "ca.key", "apiserver.crt"]
    )
    for name, value in more.items():
        setattr(node, name, value)
    return node


@pytest.mark.parametrize(
    ("node", "action"),
    [
        (NodeState(), plan.INITIALISE),
        (NodeState(initialisation="begun"), plan.INITIALISE),
        (NodeState(initialisation="done"), plan.INITIALISE),  # `kubeadm reset` by hand leaves our record
        (running(), plan.NOTHING),
        (running(initialisation="done"), plan.NOTHING),
        (running(initialisation="begun"), plan.RESUME),
        (running(api={"readyz": 0}), plan.START),
        (running(api={"readyz": 500}), plan.START),
        (running(kubelet=Kubelet(True, "inactive", False)), plan.START),
        (running(api={"readyz": 0}, initialisation="begun"), plan.RESUME),
        (parts(initialisation="begun"), plan.CLEAN_AND_INITIALISE),
        (parts(initialisation="begun", etcd_data=True), plan.RESUME),
        (parts(), plan.REFUSE),
        (parts(initialisation="done"), plan.REFUSE),
        (parts(etcd_data=True), plan.REFUSE),
        (parts(etcd_data=True, initialisation="done"), plan.REFUSE),
        (parts(etcd_data=True, initialisation="begun", certificates=[]), plan.REFUSE),
        (NodeState(state="worker", endpoint="https://other:6443"), plan.REFUSE),
    ],
)
def test_what_is_done_on_the_first_control_plane(node: NodeState, action: str) -> None:
    decision = plan_init("cp-1", node)
    assert decision.action == action
    if action == plan.REFUSE:
        assert "cluster_reset_confirm=true" in decision.reason
        assert "cp-1" in decision.reason


def test_data_is_never_cleared_away() -> None:
    for state in ("none", "partial", "control_plane", "worker"):
        for record in ("", "begun", "done"):
            for certificates in ([], ["ca.crt", "ca.key"]):
                node = NodeState(
                    state=state, etcd_data=True, initialisation=record, certificates=certificates
                )
                assert plan_init("cp-1", node).action not in (plan.CLEAN_AND_INITIALISE, plan.INITIALISE)


@pytest.mark.parametrize("node", [NodeState(), parts(initialisation="begun")])
@pytest.mark.parametrize(
    "other",
    [
        Other("w-1", "worker", "sha256:1", "https://a:6443"),
        Other("cp-2", "control_plane"),
        Other("x", "partial", etcd_data=True),
    ],
)
def test_there_is_never_a_second_cluster(node: NodeState, other: Other) -> None:
    decision = plan_init("cp-1", node, [Other("w-9", "none"), other])
    assert decision.action == plan.REFUSE
    assert other.host in decision.reason
    assert "w-9" not in decision.reason


def test_an_unasked_control_plane_may_have_a_cluster() -> None:
    assert plan_init("cp-1", NodeState(), [], ["cp-2"]).action == plan.REFUSE
    assert plan_init("cp-1", running(), [], ["cp-2"]).action == plan.NOTHING


# --- what follows for a worker ------------------------------------------------------------------------------

CLUSTER = {"ca_pin": "sha256:1", "nodes": [{"name": "w-1", "ready": True}]}


def worker(**more: object) -> NodeState:
    """A worker of CLUSTER."""
    node = NodeState(
        state="worker",
        name="w-1",
        files=["kubelet.conf"],
        kubelet_ca_pin="sha256:1",
        endpoint="https://a:6443",
        kubelet=Kubelet(True, "active", True),
        kubelet_config=True,
    )
    for name, value in more.items():
        setattr(node, name, value)
    return node


@pytest.mark.parametrize(
    ("node", "action"),
    [
        (NodeState(), plan.JOIN),
        (worker(), plan.NOTHING),
        (worker(kubelet=Kubelet(True, "inactive", False)), plan.START),
        (worker(files=["bootstrap-kubelet.conf", "kubelet.conf"]), plan.FINISH),
        (worker(kubelet_ca_pin="sha256:2"), plan.REFUSE),
        (worker(name="w-7"), plan.REFUSE),
        (worker(kubelet_ca_pin="", name=""), plan.CLEAN_AND_JOIN),
        (NodeState(state="partial", files=["bootstrap-kubelet.conf"]), plan.CLEAN_AND_JOIN),
        (NodeState(certificates=["ca.crt"]), plan.CLEAN_AND_JOIN),
        (NodeState(kubelet_config=True), plan.CLEAN_AND_JOIN),
        (running(), plan.REFUSE),
        (parts(), plan.REFUSE),
        (NodeState(state="partial", etcd_data=True), plan.REFUSE),
    ],
)
def test_what_is_done_on_a_worker(node: NodeState, action: str) -> None:
    decision = plan_join("w-1", "w-1", node, CLUSTER)
    assert decision.action == action
    if action == plan.REFUSE:
        assert "cluster_reset_confirm=true" in decision.reason


def test_a_worker_that_the_api_forgot_is_started_again() -> None:
    assert plan_join("w-1", "w-1", worker(), {"ca_pin": "sha256:1", "nodes": []}).action == plan.START


def test_a_reinstalled_worker_joins_again_under_its_name() -> None:
    assert plan_join("w-1", "w-1", NodeState(), CLUSTER).action == plan.JOIN


def test_the_pod_of_a_shared_address_is_there_before_the_cluster(tmp_path: Path) -> None:
    put(tmp_path, "etc/kubernetes/manifests/kube-vip.yaml", f"{MARK}\n{{}}\n")
    node = probe(Paths(tmp_path), Programs())
    assert (node.state, node.manifests) == ("none", [])
    put(tmp_path, "etc/kubernetes/manifests/somebodys.yaml", "{}")
    node = probe(Paths(tmp_path), Programs())
    assert (node.state, node.manifests) == ("partial", ["somebodys.yaml"])
