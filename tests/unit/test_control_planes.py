# SPDX-License-Identifier: GPL-3.0-or-later
"""Further control planes: what is decided, who acts, who is a member of etcd, what a join takes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from kubestead.model import admin_access, join_material, joining
from kubestead.model import node_plan as plan
from kubestead.model.acting_control_plane import acting_control_plane
from kubestead.model.admin_access import AdminAccess
from kubestead.model.etcd import Etcd, EtcdError, EtcdMember, parse_members
from kubestead.model.initialising import encryption_configuration
from kubestead.model.join_material import Material as JoinMaterial
from kubestead.model.join_material import MaterialOptions, parse_lifetime, token_secret
from kubestead.model.joining import Joiner, JoinOptions, Material, with_secrets
from kubestead.model.kubeadm import Outcome
from kubestead.model.kubeconfig import Answer
from kubestead.model.node_plan import plan_join_control_plane
from kubestead.model.node_run import ClusterError
from kubestead.model.node_state import ClusterView, Kubelet, NodeState, Paths, certificate_ends
from tests.unit.kubeadm_sample import (
    Programs,
    kubeconfig,
    make_certificate,
    put,
    put_control_plane,
    sample_host,
)

VOTER = EtcdMember("1", "cp-2", ["https://10.0.0.12:2380"], ["https://10.0.0.12:2379"])
LEARNER = EtcdMember("2", "cp-2", ["https://10.0.0.12:2380"], [], learner=True)
UNSTARTED = EtcdMember("3", "", ["https://10.0.0.12:2380"], [])
FIRST = EtcdMember("4", "cp-1", ["https://10.0.0.11:2380"], ["https://10.0.0.11:2379"])
PIN = "sha256:1"


def cluster(*members: EtcdMember, nodes: Sequence[str] = ("cp-1",)) -> dict[str, Any]:
    """What the control plane that acts says."""
    known = [{"name": name, "ready": True, "control_plane": True} for name in nodes]
    return {"ca_pin": PIN, "nodes": known, "etcd": list(members)}


def running(**more: Any) -> NodeState:
    """A control plane that runs."""
    facts: dict[str, Any] = {
        "state": "control_plane",
        "name": "cp-2",
        "files": ["admin.conf", "kubelet.conf"],
        "manifests": ["etcd.yaml", "kube-apiserver.yaml"],
        "etcd_data": True,
        "kubelet_ca_pin": PIN,
        "kubelet": Kubelet(True, "active", True),
        "api": {"readyz": 200},
    }
    return NodeState(**{**facts, **more})


def decide(node: NodeState, known: dict[str, Any]) -> plan.Decision:
    """The decision for cp-2."""
    return plan_join_control_plane("cp-2", "cp-2", node, known, ["10.0.0.12"])


BOTH = cluster(FIRST, VOTER, nodes=("cp-1", "cp-2"))


@pytest.mark.parametrize(
    ("node", "known", "action"),
    [
        (NodeState(), cluster(FIRST), plan.JOIN),
        (running(), BOTH, plan.NOTHING),
        (running(kubelet=Kubelet(True, "inactive")), BOTH, plan.START),
        (running(api={"readyz": 500}), BOTH, plan.START),
        (running(), cluster(FIRST, VOTER), plan.START),
        (running(joining="begun"), BOTH, plan.FINISH),
        (running(joining="begun"), cluster(FIRST, LEARNER), plan.CLEAN_AND_JOIN),
        (NodeState("partial", joining="begun", manifests=["etcd.yaml"]), cluster(FIRST), plan.CLEAN_AND_JOIN),
        (
            NodeState("partial", joining="begun", certificates=["ca.crt"]),
            cluster(FIRST, UNSTARTED),
            plan.CLEAN_AND_JOIN,
        ),
        (NodeState("partial", files=["bootstrap-kubelet.conf"]), cluster(FIRST), plan.CLEAN_AND_JOIN),
        (NodeState("worker", name="cp-2", kubelet_ca_pin=PIN), cluster(FIRST), plan.REFUSE),
        (running(kubelet_ca_pin="sha256:2"), BOTH, plan.REFUSE),
        (running(name="other"), BOTH, plan.REFUSE),
        (running(), cluster(FIRST), plan.REFUSE),
        (NodeState(), cluster(FIRST, VOTER), plan.REFUSE),
        (NodeState(), cluster(FIRST, UNSTARTED), plan.REFUSE),
        (NodeState("partial", manifests=["etcd.yaml"]), cluster(FIRST), plan.REFUSE),
    ],
)
def test_what_is_done_with_a_further_control_plane(
    node: NodeState, known: dict[str, Any], action: str
) -> None:
    assert decide(node, known).action == action


def test_one_that_comes_back_empty_is_told_how_to_leave() -> None:
    reason = decide(NodeState(), cluster(FIRST, VOTER)).reason
    assert "cp-2 (1)" in reason
    assert "remove_node.yml -e remove_node=cp-2" in reason


def test_where_etcd_stands_elsewhere_there_are_no_members() -> None:
    known = {**BOTH, "etcd": None}
    assert decide(running(), known).action == plan.NOTHING
    assert decide(NodeState(), {**cluster(), "etcd": None}).action == plan.JOIN


READY = {"state": "control_plane", "cluster": {"answers": True}}
STOPPED = {"state": "control_plane", "cluster": {"answers": False}}
EMPTY = {"state": "none"}


@pytest.mark.parametrize(
    ("facts", "preferred", "acts"),
    [
        ({"a": EMPTY, "b": EMPTY}, "", "a"),
        ({"a": EMPTY, "b": EMPTY}, "b", "b"),
        ({"a": EMPTY, "b": READY, "c": READY}, "a", "b"),
        ({"a": EMPTY, "b": STOPPED}, "", "b"),
        ({"a": EMPTY, "b": {"state": "partial", "initialisation": "begun"}}, "", "b"),
        ({"a": {**STOPPED, "joining": "begun"}, "b": STOPPED}, "", "b"),
        ({}, "", ""),
    ],
)
def test_who_acts(facts: dict[str, Any], preferred: str, acts: str) -> None:
    assert acting_control_plane(facts, preferred) == acts


def test_members_are_read_as_etcd_writes_them() -> None:
    answer = {
        "members": [
            {"ID": "10276657743932975437", "name": "cp-1", "peerURLs": ["https://10.0.0.11:2380"]},
            {"ID": "255", "peerURLs": ["https://[fd00::1]:2380"], "isLearner": True},
        ]
    }
    first, second = parse_members(answer)
    assert (first.id, first.name, first.learner) == ("8e9e05c52164694d", "cp-1", False)
    assert second.is_of("cp-9", ["fd00::1"])
    assert not second.is_of("cp-9", ["fd00::2"])
    assert not first.is_of("cp-9", ["10.0.0.11"])
    assert second.describe() == "https://[fd00::1]:2380 (ff, has no vote)"


def test_without_its_certificates_etcd_is_not_asked(tmp_path: Path) -> None:
    with pytest.raises(EtcdError, match=r"etcd/ca\.crt"):
        Etcd(tmp_path)


def test_etcd_that_does_not_answer_is_named(tmp_path: Path) -> None:
    authority, key = make_certificate("etcd-ca")
    for name, text in (("etcd/ca.crt", authority), ("apiserver-etcd-client.crt", authority)):
        put(tmp_path, name, text)
    put(tmp_path, "apiserver-etcd-client.key", key)
    with pytest.raises(EtcdError, match=r"https://127\.0\.0\.1:1: no answer"):
        Etcd(tmp_path, ["https://127.0.0.1:1"]).members()


def test_a_token_is_made_as_kubeadm_makes_it() -> None:
    options = MaterialOptions("cp-1", timedelta(minutes=15), "cp-2 joins")
    made = token_secret("abcdef.0123456789abcdef", options, datetime(2026, 1, 1, tzinfo=timezone.utc))
    assert made["metadata"]["name"] == "bootstrap-token-abcdef"
    assert made["stringData"]["expiration"] == "2026-01-01T00:15:00Z"
    assert made["stringData"]["token-secret"] == "0123456789abcdef"


class Api:
    """An API server that keeps what it is sent."""

    def __init__(self, answers: dict[str, Any] | None = None, status: int = 200) -> None:
        self.answers, self.status = answers or {}, status
        self.asked: list[str] = []
        self.bodies: list[Any] = []

    def request(self, path: str, method: str = "GET", body: Any = None, content_type: str = "") -> Answer:
        name = path.rsplit("/", 1)[-1]
        self.asked.append(f"{method} {name}")
        self.bodies += [] if body is None else [body]
        return Answer(self.status, json.dumps(self.answers.get(name, {})))


def material(root: Path, api: Api, monkeypatch: pytest.MonkeyPatch, outcome: Outcome) -> JoinMaterial:
    """What makes a join's material on a control plane in `root`; kubeadm writes down what it was given."""
    monkeypatch.setattr(join_material, "local_client", lambda *_, **__: api)

    def kubeadm(argv: Sequence[str], log: Path, timeout: float, keep: Sequence[int], **_: Any) -> Outcome:
        given = Path(f"/proc/self/fd/{keep[0]}").read_text()
        put(root, "given", json.dumps({"arguments": " ".join(argv), "document": given}))
        return outcome

    put(root, "etc/kubernetes/manifests/kube-apiserver.yaml", "  - --advertise-address=10.0.0.11\n")
    put(root, "etc/kubernetes/api-server/encryption.yaml", "kind: EncryptionConfiguration\n")
    options = MaterialOptions("cp-1", timedelta(minutes=15), "cp-2 joins", control_plane=True)
    return JoinMaterial(options, sample_host(root, Programs()), execute=kubeadm)


RECORDED = {
    "kubeadm-config": {"data": {"ClusterConfiguration": "apiVersion: kubeadm.k8s.io/v1beta4\nkind: X\n"}}
}


def test_a_control_plane_gets_a_token_a_key_and_the_files_of_the_api_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = Api(RECORDED)
    made = material(tmp_path, api, monkeypatch, Outcome(0, "")).make()
    assert made["files"] == {"encryption.yaml": "kind: EncryptionConfiguration\n"}
    assert made["expires"] == api.bodies[0]["stringData"]["expiration"]
    given = json.loads((tmp_path / "given").read_text())
    assert made["certificate_key"] not in given["arguments"]
    first, second = given["document"].split("\n---\n")
    assert second == RECORDED["kubeadm-config"]["data"]["ClusterConfiguration"]
    assert json.loads(first)["apiVersion"] == "kubeadm.k8s.io/v1beta4"
    assert json.loads(first)["certificateKey"] == made["certificate_key"]
    assert json.loads(first)["localAPIEndpoint"] == {"advertiseAddress": "10.0.0.11", "bindPort": 6443}
    assert api.asked == ["POST secrets", "GET kubeadm-config"]


def test_a_token_that_cannot_be_made_is_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ClusterError, match=r"its API said 403 to POST .*/secrets\.$"):
        material(tmp_path, Api(status=403), monkeypatch, Outcome(0, "")).make()


def test_certificates_that_cannot_be_sealed_end_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ClusterError, match="error: no"):
        material(tmp_path, Api(RECORDED), monkeypatch, Outcome(1, "error: no")).make()


def test_afterwards_token_and_certificates_are_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owners = [{"kind": "Secret", "name": "bootstrap-token-zzzzzz"}]
    api = Api({"kubeadm-certs": {"metadata": {"ownerReferences": owners}}})
    assert material(tmp_path, api, monkeypatch, Outcome(0, "")).end("abcdef")
    deleted = [line for line in api.asked if line.startswith("DELETE")]
    assert deleted == [
        "DELETE bootstrap-token-abcdef",
        "DELETE kubeadm-certs",
        "DELETE bootstrap-token-zzzzzz",
    ]


@pytest.mark.parametrize(("text", "minutes"), [("15m", 15), ("1h30m", 90), ("90s", 1.5)])
def test_lifetimes_are_read(text: str, minutes: float) -> None:
    assert parse_lifetime(text) == timedelta(minutes=minutes)


@pytest.mark.parametrize("text", ["", "15", "m", "1d"])
def test_other_lifetimes_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a time"):
        parse_lifetime(text)


def test_token_and_key_go_where_kubeadm_looks() -> None:
    document = json.loads(
        with_secrets({"controlPlane": {"localAPIEndpoint": {"bindPort": 1}}}, Material("t", "k"))
    )
    assert document["controlPlane"] == {"localAPIEndpoint": {"bindPort": 1}, "certificateKey": "k"}
    assert document["discovery"]["tlsBootstrapToken"] == "t"


def test_secrets_are_sealed_first_and_old_ones_can_be_read() -> None:
    [resource] = json.loads(encryption_configuration(b"k" * 32))["resources"]
    assert [next(iter(provider)) for provider in resource["providers"]] == ["secretbox", "identity"]


def join_options(root: Path, **more: Any) -> JoinOptions:
    """A further control plane that is to join."""
    return JoinOptions(
        "cp-2",
        "cp-2",
        {"ca_pin": PIN, "nodes": [], "etcd": None},
        {"kind": "JoinConfiguration"},
        Material("abcdef.0123456789abcdef", "f" * 64, {"audit-policy.yaml": "kind: Policy\n"}),
        control_plane=True,
        log=root / "var/log/kubeadm-join.log",
        failure_log=root / "var/log/kubeadm-join-failure.log",
        timeout=20,
        backoff=0.01,
        **more,
    )


def test_a_join_is_tried_again_after_longer_and_longer_pauses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("kubestead.model.joining.time.sleep", pauses.append)
    left: list[bool] = []

    def fails(argv: Sequence[str], *_: Any, **__: Any) -> Outcome:
        left.append((tmp_path / "etc/kubernetes/pki/ca.crt").exists())
        put(tmp_path, "etc/kubernetes/pki/ca.crt")
        return Outcome(1, "error: no")

    programs = Programs(dict.fromkeys(("systemctl", "crictl", "kubeadm config validate"), (0, "", "")))
    host = sample_host(tmp_path, programs)
    with pytest.raises(ClusterError, match="error: no"):
        Joiner(join_options(tmp_path, attempts=3), host, execute=fails).run()
    assert pauses == [0.01, 0.02]
    assert left == [False, False, False]
    assert json.loads((tmp_path / "etc/kubernetes/kubestead-join.json").read_text())["state"] == "begun"
    policy = tmp_path / "etc/kubernetes/api-server/audit-policy.yaml"
    assert (policy.read_text(), policy.stat().st_mode & 0o777) == ("kind: Policy\n", 0o600)


def test_one_that_has_joined_is_seen_to_have_a_vote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = join_options(tmp_path)
    options.cluster = {"ca_pin": PIN, "nodes": [], "etcd": [asdict(FIRST)]}
    view = ClusterView(answers=True, etcd=[FIRST, LEARNER])
    seen = iter([NodeState(), NodeState(cluster=view)])
    monkeypatch.setattr(Joiner, "probe", lambda _self: next(seen))
    monkeypatch.setattr(Joiner, "_wait_healthy", lambda _self: None)
    host = sample_host(tmp_path, Programs({"kubeadm config validate": (0, "", "")}))

    def joins(*_: Any, **__: Any) -> Outcome:
        put(tmp_path, "etc/kubernetes/kubelet.conf")
        return Outcome(0, "")

    with pytest.raises(ClusterError, match=r"has no vote in etcd.*cp-1 \(4\), cp-2 \(2, has no vote\)"):
        Joiner(options, host, execute=joins).run()
    marker = tmp_path / "etc/kubernetes/kubestead-join.json"
    assert json.loads(marker.read_text())["state"] == "begun"
    seen = iter([NodeState(), NodeState(cluster=ClusterView(answers=True, etcd=[FIRST, VOTER]))])
    assert Joiner(options, host, execute=joins).run().action == plan.JOIN
    assert json.loads(marker.read_text())["state"] == "done"


def starter(
    root: Path, api: Api, monkeypatch: pytest.MonkeyPatch, node: NodeState, known: dict[str, Any]
) -> tuple[Joiner, Programs]:
    """A further control plane whose API server is ready as soon as it is asked."""
    monkeypatch.setattr(joining, "local_client", lambda *_, **__: api)
    monkeypatch.setattr(joining, "ask_membership", lambda *_: (True, ""))
    monkeypatch.setattr(Joiner, "_wait_healthy", lambda _self: None)
    monkeypatch.setattr(Joiner, "probe", lambda _self: node)
    node.cluster = ClusterView(answers=True, etcd=[FIRST, VOTER])
    programs = Programs({"systemctl": (0, "", "")})
    options = join_options(root)
    options.cluster = {**known, "etcd": [asdict(member) for member in known["etcd"]]}
    return Joiner(options, sample_host(root, programs)), programs


MARKED = {"cp-2": {"metadata": {"labels": {"node-role.kubernetes.io/control-plane": ""}}}}


@pytest.mark.parametrize(
    ("node", "known", "does"),
    [
        (running(kubelet=Kubelet(True, "inactive")), BOTH, ["systemctl start kubelet.service"]),
        (running(), cluster(FIRST, VOTER), ["systemctl restart kubelet.service"]),
        (running(api={"readyz": 500}), BOTH, []),
    ],
)
def test_only_what_has_stopped_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, node: NodeState, known: dict[str, Any], does: list[str]
) -> None:
    joiner, programs = starter(tmp_path, Api(MARKED), monkeypatch, node, known)
    result = joiner.run()
    assert (result.action, result.changed, programs.calls) == (plan.START, bool(does), does)
    assert not (tmp_path / "etc/kubernetes/kubestead-join.json").exists(), "it was not made by a join of ours"


def test_an_interrupted_join_gets_its_labels_and_its_taint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "var/lib/kubelet/instance-config.yaml")
    api = Api({"cp-2": {"spec": {"taints": [{"key": "mine"}]}}})
    joiner, _programs = starter(tmp_path, api, monkeypatch, running(joining="begun"), BOTH)
    assert (joiner.run().action, api.asked) == (plan.FINISH, ["GET cp-2", "PATCH cp-2"])
    [body] = api.bodies
    assert [taint["key"] for taint in body["spec"]["taints"]] == [
        "mine",
        "node-role.kubernetes.io/control-plane",
    ]


def test_a_configuration_that_kubeadm_refuses_is_told_without_its_secrets(tmp_path: Path) -> None:
    refused = (1, "", f"error: token abcdef.0123456789abcdef, key {'f' * 64}")
    programs = Programs({"systemctl": (0, "", ""), "kubeadm config validate": refused})
    with pytest.raises(ClusterError, match=r"token <token>, key <key>\. It comes from .* kubeadm_join_\*"):
        Joiner(join_options(tmp_path), sample_host(tmp_path, programs)).run()


def admin(root: Path, organisation: str, days: int = 3650) -> AdminAccess:
    """The administrator of a control plane in `root`."""
    authority, key = make_certificate("kubernetes", days=days)
    put_control_plane(root, authority, key)
    config = kubeconfig("https://10.0.0.1:6443", authority, *make_certificate("admin", organisation, days))
    put(root, "etc/kubernetes/admin.conf", config)
    return AdminAccess(sample_host(root, Programs()), "cp-1", "kind: X", port=1)


def test_an_administrator_is_one_by_its_group(tmp_path: Path) -> None:
    assert admin(tmp_path, "kubeadm:cluster-admins").problem() == ""
    assert "groups nobody, expected" in admin(tmp_path, "nobody").problem()
    assert "has ended" in admin(tmp_path, "system:masters", days=1).problem()


def test_an_administrator_of_another_cluster_is_none(tmp_path: Path) -> None:
    one = admin(tmp_path, "system:masters")
    put(tmp_path, "etc/kubernetes/pki/ca.crt", make_certificate("other")[0])
    assert "another authority" in one.problem()
    (tmp_path / "etc/kubernetes/admin.conf").write_text("")
    assert "cannot be read" in one.problem()


def test_a_certificate_that_is_wrong_is_made_anew(tmp_path: Path) -> None:
    one = admin(tmp_path, "nobody")
    good = (tmp_path / "etc/kubernetes/admin.conf").read_text()

    def makes(line: str) -> tuple[int, str, str]:
        assert line == "kubeadm init phase kubeconfig admin --config /dev/stdin"
        authority = (tmp_path / "etc/kubernetes/pki/ca.crt").read_bytes()
        made = kubeconfig(
            "https://10.0.0.1:6443", authority, *make_certificate("admin", "system:masters", 3650)
        )
        put(tmp_path, "etc/kubernetes/admin.conf", made)
        return 0, "", ""

    one.host.run = Programs({"kubeadm init": makes})
    assert "groups nobody" in one.repair()
    [kept] = (tmp_path / "etc/kubernetes").glob("admin.conf.2*")
    assert kept.read_text() == good
    assert one.repair() == ""


def test_a_missing_right_is_given_by_a_certificate_that_is_never_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = admin(tmp_path, "kubeadm:cluster-admins")
    authority = (tmp_path / "etc/kubernetes/pki/ca.crt").read_bytes()
    master = kubeconfig("https://x:1", authority, *make_certificate("m", "system:masters"))
    one.host.run = Programs({"kubeadm kubeconfig user": (0, master, "")})
    asked: list[str] = []

    class Server:
        def __init__(self, *_: Any, **__: Any) -> None:
            pass

        def request(self, path: str, method: str = "GET", body: Any = None) -> Any:
            asked.append(f"{method} {path.rsplit('/', 1)[-1]}")
            bound = "POST clusterrolebindings" in asked
            allowed = json.dumps({"status": {"allowed": bound}})
            return Answer(201, allowed)

    monkeypatch.setattr(admin_access, "Client", Server)
    assert "RBAC" in one.repair()
    assert "DELETE kubeadm:cluster-admins" in asked
    assert not [
        path
        for path in tmp_path.rglob("*")
        if path.is_file() and master == path.read_text("utf-8", "replace")
    ]


def test_every_certificate_has_its_end(tmp_path: Path) -> None:
    put_control_plane(tmp_path, *make_certificate("kubernetes", days=31))
    ends = certificate_ends(Paths(tmp_path))
    assert ends["pki/apiserver.crt"] == "2026-02-01T00:00:00+00:00"
    assert {"admin.conf", "pki/ca.crt"} <= set(ends)
