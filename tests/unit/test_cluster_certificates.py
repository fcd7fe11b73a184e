# SPDX-License-Identifier: GPL-3.0-or-later
"""A control plane's certificates that are not whole are made anew; its authorities are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kubestead.model import initialising
from kubestead.model.admin_access import AdminAccess
from kubestead.model.cluster_certificates import SIGNED, ClusterCertificates, pair_problem
from kubestead.model.cluster_checks import Question, check_certificates
from kubestead.model.initialising import Initialiser, InitOptions
from kubestead.model.node_run import ClusterError
from kubestead.model.node_state import Paths
from tests.unit.kubeadm_sample import Programs, kubeconfig, make_certificate, put, sample_host

PKI = "etc/kubernetes/pki"
PHASES = {phase: name for name, (_authority, phase) in SIGNED.items()}


def put_pair(root: Path, name: str) -> None:
    certificate, key = make_certificate(name, days=3650)
    put(root, f"{PKI}/{name}.crt", certificate)
    put(root, f"{PKI}/{name}.key", key)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A whole control plane."""
    for name in ("ca", "etcd/ca", "front-proxy-ca", *SIGNED):
        put_pair(tmp_path, name)
    config = kubeconfig("https://10.77.0.11:6443", *([make_certificate("u")[0]] * 3))
    for name in ("controller-manager", "scheduler", "admin", "kubelet"):
        put(tmp_path, f"etc/kubernetes/{name}.conf", config)
    for name in ("kube-apiserver", "etcd"):
        put(tmp_path, f"etc/kubernetes/manifests/{name}.yaml")
    put(tmp_path, "var/lib/etcd/member/snap/db")
    return tmp_path


def kubeadm(root: Path) -> Programs:
    """A kubeadm that makes what it is told to."""

    def make(line: str) -> tuple[int, str, str]:
        kind, name = line.split()[3:5]
        if kind == "certs":
            put_pair(root, PHASES[name])
        else:
            put(root, f"etc/kubernetes/{name}.conf", (root / "etc/kubernetes/admin.conf").read_bytes())
        return 0, "", ""

    return Programs({"kubeadm init phase": make})


def certificates(root: Path, programs: Programs | None = None) -> ClusterCertificates:
    return ClusterCertificates(sample_host(root, programs or Programs()), "cp-1", "kind: X\n")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def test_what_is_whole_is_left_alone(root: Path) -> None:
    programs = Programs()
    assert certificates(root, programs).problems() == {}
    assert certificates(root, programs).repair() == ""
    certificates(root).check_authorities()
    assert programs.calls == []


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda pki: cut(pki / "apiserver.crt"), "apiserver.crt cannot be read"),
        (lambda pki: cut(pki / "apiserver.key"), "apiserver.key cannot be read"),
        (lambda pki: (pki / "apiserver.key").write_text(""), "apiserver.key cannot be read"),
        (lambda pki: (pki / "apiserver.crt").unlink(), "apiserver.crt missing"),
        (
            lambda pki: (pki / "apiserver.key").write_bytes((pki / "front-proxy-client.key").read_bytes()),
            "apiserver.key is not the key of its certificate",
        ),
    ],
)
def test_what_is_wrong_with_a_pair_is_said(root: Path, spoil: Callable[[Path], None], said: str) -> None:
    spoil(root / PKI)
    assert pair_problem(root / PKI / "apiserver.crt", root / PKI / "apiserver.key") == said
    assert certificates(root).problems() == {"apiserver": said}


def test_what_is_not_whole_is_made_anew_and_kept_beside_it(root: Path) -> None:
    cut(root / PKI / "apiserver.crt")
    put(root, f"{PKI}/etcd/peer.key", "")
    put(root, "etc/kubernetes/scheduler.conf", "")
    whole = (root / PKI / "etcd/server.crt").read_bytes()
    programs = kubeadm(root)
    said = certificates(root, programs).repair()
    assert said == "apiserver.crt cannot be read; etcd/peer.key cannot be read; scheduler.conf cannot be read"
    assert programs.calls == [
        "kubeadm init phase certs apiserver --config /dev/stdin",
        "kubeadm init phase certs etcd-peer --config /dev/stdin",
        "kubeadm init phase kubeconfig scheduler --config /dev/stdin",
    ]
    assert set(programs.inputs) == {"kind: X\n"}
    assert certificates(root).problems() == {}
    assert (root / PKI / "etcd/server.crt").read_bytes() == whole
    assert len(list((root / PKI).glob("apiserver.crt.2*"))) == 1
    assert not list((root / PKI).glob("etcd/peer.key.2*")), "an empty one is of use to nobody"


def test_an_authority_is_never_made_anew(root: Path) -> None:
    put(root, f"{PKI}/etcd/ca.crt", "")
    with pytest.raises(ClusterError, match=r"cp-1: \S+/pki/etcd/ca\.crt cannot be read.*backup"):
        certificates(root).check_authorities()


def test_without_the_key_of_its_authority_nothing_is_signed_and_nothing_moved(root: Path) -> None:
    (root / PKI / "ca.key").unlink()
    assert certificates(root).problems() == {}, "an authority may be kept elsewhere"
    cut(root / PKI / "apiserver.crt")
    with pytest.raises(
        ClusterError, match=r"apiserver\.crt cannot be read.*of its authority ca ca\.key missing"
    ):
        certificates(root).repair()
    assert not list((root / PKI).glob("*.2*"))


def test_where_etcd_stands_elsewhere_nobody_asks_for_its_certificates(root: Path) -> None:
    (root / "etc/kubernetes/manifests/etcd.yaml").unlink()
    for path in [*(root / PKI / "etcd").iterdir(), root / PKI / "apiserver-etcd-client.key"]:
        path.unlink()
    assert certificates(root).problems() == {}
    certificates(root).check_authorities()


def test_a_kubeadm_that_fails_is_quoted(root: Path) -> None:
    cut(root / PKI / "apiserver.crt")
    programs = Programs({"kubeadm init phase": (1, "", "no such phase")})
    with pytest.raises(ClusterError, match="kubeadm init phase certs apiserver: no such phase"):
        certificates(root, programs).repair()


def options(root: Path) -> InitOptions:
    path = put(root, "etc/kubernetes/kubeadm-config.yaml", "kind: X\n")
    return InitOptions("cp-1", "kind: X\n", path, root / "log", 1)


@pytest.mark.parametrize("check", [True, False])
def test_a_run_mends_them_and_starts_what_has_stopped(
    root: Path, monkeypatch: pytest.MonkeyPatch, check: bool
) -> None:
    monkeypatch.setattr(initialising, "api_health", lambda *_: ({"readyz": 200}, ""))
    monkeypatch.setattr(AdminAccess, "repair", lambda _self: "")
    cut(root / PKI / "apiserver.crt")
    programs = kubeadm(root)
    programs.answers["systemctl"] = (0, "LoadState=loaded\nActiveState=active", "")
    result = Initialiser(options(root), sample_host(root, programs)).run(check)
    assert (result.action, result.changed) == ("start", True)
    assert result.warnings[0] == "Certificates on cp-1 are made anew: apiserver.crt cannot be read."
    assert ("systemctl restart kubelet.service" in programs.calls) is not check
    assert bool(certificates(root).problems()) is check


def test_what_ends_again_and_again_is_tried_at_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kubelet leaves it alone for minutes; one that starts anew does not."""
    programs = Programs({"systemctl": (0, "LoadState=loaded\nActiveState=active", "")})

    def health(*_: Any) -> tuple[dict[str, int], str]:
        return {"readyz": 200 if "systemctl restart kubelet.service" in programs.calls else 0}, "refused"

    monkeypatch.setattr(initialising, "api_health", health)
    monkeypatch.setattr(initialising, "START_PATIENCE", 0)
    monkeypatch.setattr(AdminAccess, "repair", lambda _self: "")
    result = Initialiser(options(root), sample_host(root, programs)).run()
    assert (result.action, result.changed) == ("start", True)


def test_the_check_of_certificates_fails_for_one_that_cannot_be_read(root: Path) -> None:
    question = Question("10.96.0.10", "kubernetes.default.svc.cluster.local", "10.96.0.1")
    assert check_certificates(question, Paths(root)).ok
    cut(root / PKI / "etcd/server.crt")
    check = check_certificates(question, Paths(root))
    assert (check.ok, check.detail) == (False, "server.crt cannot be read")
