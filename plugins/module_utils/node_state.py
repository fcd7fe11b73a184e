# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is true on a node of a kubeadm cluster, found in one go.

Whether something has to be done is decided from this (see `node_plan`), never from a single file.
"""

from __future__ import annotations

import contextlib
import json
import re
import typing as t
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from .endpoint_files import is_ours
from .etcd import Etcd, EtcdError, EtcdMember
from .kubeconfig import Client, Kubeconfig, KubeconfigError, load_kubeconfig
from .programs import Runner, run_program
from .x509 import Certificate, CertificateError, parse_certificate

#: Files of kubeadm in /etc/kubernetes that say something about the node.
KUBECONFIGS = (
    "admin.conf",
    "super-admin.conf",
    "kubelet.conf",
    "bootstrap-kubelet.conf",
    "controller-manager.conf",
    "scheduler.conf",
)

#: What a person may put into /etc/kubernetes/pki before the first `kubeadm init`: their own authorities.
OWN_AUTHORITIES = frozenset(
    name + end
    for name, ends in (
        ("ca", (".crt", ".key")),
        ("front-proxy-ca", (".crt", ".key")),
        ("etcd/ca", (".crt", ".key")),
        ("sa", (".key", ".pub")),
    )
    for end in ends
)

HEALTH_PATHS = ("livez", "readyz", "healthz")
MARKER = "kubestead-init.json"
JOIN_MARKER = "kubestead-join.json"


@dataclass(frozen=True)
class Paths:
    """Where kubeadm keeps things; `root` is another folder in tests."""

    root: Path = Path("/")

    @property
    def kubernetes(self) -> Path:
        """The folder of kubeconfigs, certificates and manifests."""
        return self.root / "etc/kubernetes"

    @property
    def marker(self) -> Path:
        """The record of our own initialisation."""
        return self.kubernetes / MARKER

    @property
    def join_marker(self) -> Path:
        """The record of our own join of a further control plane."""
        return self.kubernetes / JOIN_MARKER

    @property
    def pki(self) -> Path:
        """The certificates."""
        return self.kubernetes / "pki"

    @property
    def manifests(self) -> Path:
        """The static pods."""
        return self.kubernetes / "manifests"

    @property
    def api_server(self) -> Path:
        """What the API server reads beside its certificates; the same on every control plane."""
        return self.kubernetes / "api-server"

    @property
    def etcd_member(self) -> Path:
        """What etcd makes when it has data."""
        return self.root / "var/lib/etcd/member"

    @property
    def kubelet(self) -> Path:
        """The kubelet's own folder."""
        return self.root / "var/lib/kubelet"


@dataclass
class Kubelet:
    """The kubelet's service and its own health check."""

    installed: bool = False
    #: ActiveState of systemd, such as `active`, `activating`, `inactive`, `failed`
    active: str = "inactive"
    healthy: bool = False


@dataclass
class Member:
    """A Node object of the API."""

    name: str
    ready: bool
    #: what the node says of its readiness
    message: str = ""
    version: str = ""
    addresses: list[str] = field(default_factory=list)
    control_plane: bool = False


@dataclass
class ClusterView:
    """What the API says to this node's admin kubeconfig; `answers` is false when it says nothing."""

    answers: bool = False
    #: kubeadm's own record (kube-system/kubeadm-config) is there: an initialisation has come that far
    recorded: bool = False
    problem: str = ""
    nodes: list[Member] = field(default_factory=list)
    #: the members of the etcd that stands on the control planes; none where it stands elsewhere
    etcd: list[EtcdMember] | None = None
    etcd_problem: str = ""


@dataclass
class NodeState:
    """All facts of one node."""

    #: none, control_plane, worker or partial
    state: str = "none"
    name: str = ""
    files: list[str] = field(default_factory=list)
    manifests: list[str] = field(default_factory=list)
    certificates: list[str] = field(default_factory=list)
    etcd_data: bool = False
    kubelet_config: bool = False
    kubelet: Kubelet = field(default_factory=Kubelet)
    kubeadm_version: str = ""
    #: status of each health path of the API server on this node, 0 without an answer
    api: dict[str, int] = field(default_factory=dict)
    api_problem: str = ""
    #: pin of the authority in pki/ca.crt, and of the one that kubelet.conf trusts
    ca_pin: str = ""
    kubelet_ca_pin: str = ""
    endpoint: str = ""
    #: how everybody else reaches the API, from admin.conf: the kubelet of a control plane asks its own one
    cluster_endpoint: str = ""
    api_certificate_expiry: str = ""
    api_certificate_days: int | None = None
    #: when each certificate here ends, those in kubeconfigs as well
    certificate_ends: dict[str, str] = field(default_factory=dict)
    #: whether the cluster of kubelet.conf knows this node, asked with the kubelet's own certificate
    member: bool | None = None
    member_problem: str = ""
    #: our own initialisation: `` (not by us), begun or done
    initialisation: str = ""
    kept: list[str] = field(default_factory=list)
    #: our own join of a further control plane: `` (not by us), begun or done
    joining: str = ""
    cluster: ClusterView = field(default_factory=ClusterView)

    @property
    def api_ready(self) -> bool:
        """Whether the API server of this node is ready."""
        return self.api.get("readyz") == 200

    def as_dict(self) -> dict[str, t.Any]:
        """Return plain data, as a module returns it."""
        return asdict(self)

    @classmethod
    def of(cls, facts: t.Mapping[str, t.Any]) -> NodeState:
        """Take a node's own facts from plain data, without what it sees of its cluster."""
        own = {name: value for name, value in facts.items() if name != "cluster"}
        return cls(**{**own, "kubelet": Kubelet(**own["kubelet"])})


def classify(node: NodeState) -> str:
    """Say what the node is by the files on it: none, control_plane, worker or partial."""
    confs = {name for name in node.files if name.endswith(".conf")}
    api_server = "kube-apiserver.yaml" in node.manifests
    if api_server and {"admin.conf", "kubelet.conf"} <= confs:
        external_etcd = "etcd.yaml" not in node.manifests
        if node.etcd_data or external_etcd:
            return "control_plane"
    foreign = set(node.certificates) - OWN_AUTHORITIES
    if not (confs or node.manifests or node.etcd_data or foreign):
        return "none"
    control = (
        node.manifests or node.etcd_data or foreign or confs - {"kubelet.conf", "bootstrap-kubelet.conf"}
    )
    if "kubelet.conf" in confs and not control:
        return "worker"
    return "partial"


def read_certificate(path: Path) -> Certificate | None:
    """Return the certificate at `path`; None when there is none that can be read."""
    try:
        return parse_certificate(path.read_bytes())
    except (OSError, CertificateError):
        return None


def read_marker(path: Path) -> dict[str, t.Any]:
    """Return our record of an initialisation or a join; empty when there is none."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _files_below(folder: Path) -> list[str]:
    return sorted(
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() or path.is_symlink()
    )


def kubeadm_manifests(folder: Path) -> list[str]:
    """Static pods that are here, but the one of a shared address: it is there before kubeadm has run."""
    return [name for name in _files_below(folder) if not is_ours(_text(folder / name))]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def kubelet_service(run: Runner) -> Kubelet:
    """Ask systemd and the kubelet."""
    code, out, _err = run(["systemctl", "show", "kubelet.service", "--property=LoadState,ActiveState"])
    shown = dict(line.split("=", 1) for line in out.splitlines() if "=" in line) if code == 0 else {}
    active = shown.get("ActiveState", "inactive")
    return Kubelet(
        installed=shown.get("LoadState") == "loaded",
        active=active,
        healthy=active == "active" and plain_health("127.0.0.1", 10248, "/healthz") == 200,
    )


def plain_health(host: str, port: int, path: str, timeout: float = 2) -> int:
    """Return the status of a plain HTTP health check, 0 without an answer."""
    connection = HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, HTTPException):
        return 0
    finally:
        connection.close()


def local_client(paths: Paths, port: int, admin: bool = False) -> Client:
    """Ask the API server of this machine, whatever stands before it; as the administrator, or as nobody.

    It has to show a certificate of the authority in pki/ca.crt. Raises KubeconfigError.
    """
    server = f"https://localhost:{port}"
    if admin:
        known = load_kubeconfig(paths.kubernetes / "admin.conf")
        config = Kubeconfig(server, known.authority, known.certificate, known.key)
    else:
        try:
            config = Kubeconfig(server, (paths.pki / "ca.crt").read_bytes(), b"", b"")
        except OSError as error:
            raise KubeconfigError(str(error)) from error
    return Client(config, timeout=5, check_name=False)


def api_health(paths: Paths, port: int) -> tuple[dict[str, int], str]:
    """Ask the API server on this node for its health."""
    try:
        client = local_client(paths, port)
    except KubeconfigError as error:
        return dict.fromkeys(HEALTH_PATHS, 0), str(error)
    statuses, problem = {}, ""
    for path in HEALTH_PATHS:
        answer = client.request(f"/{path}")
        statuses[path] = answer.status
        if not answer.ok:
            problem = problem or answer.body
        if not answer.status:  # nobody there: the others need not be asked
            return {**dict.fromkeys(HEALTH_PATHS, 0), **statuses}, problem
    return statuses, problem


def parse_node(item: t.Mapping[str, t.Any]) -> Member:
    """Read a Node object."""
    metadata, status = item.get("metadata", {}), item.get("status", {})
    ready: dict[str, str] = next((c for c in status.get("conditions", []) if c.get("type") == "Ready"), {})
    labels = metadata.get("labels") or {}
    return Member(
        name=str(metadata.get("name", "")),
        ready=ready.get("status") == "True",
        message=str(ready.get("message", "")),
        version=str(status.get("nodeInfo", {}).get("kubeletVersion", "")),
        addresses=[
            str(a.get("address")) for a in status.get("addresses", []) if a.get("type") == "InternalIP"
        ],
        control_plane="node-role.kubernetes.io/control-plane" in labels,
    )


def cluster_view(paths: Paths, port: int = 6443) -> ClusterView:
    """Ask the API server here with admin.conf: which nodes are there, and is the cluster a finished one."""
    try:
        client = local_client(paths, port, admin=True)
    except KubeconfigError as error:
        return ClusterView(problem=f"{paths.kubernetes / 'admin.conf'}: {error}")
    nodes = client.request("/api/v1/nodes")
    if not nodes.ok:
        return ClusterView(problem=f"{nodes.status or 'no answer'}: {nodes.body[:300]}")
    record = client.request("/api/v1/namespaces/kube-system/configmaps/kubeadm-config")
    items = (nodes.json() or {}).get("items") or []
    view = ClusterView(answers=True, recorded=record.ok, nodes=[parse_node(item) for item in items])
    if (paths.manifests / "etcd.yaml").exists():
        try:
            view.etcd = Etcd(paths.pki).members()
        except EtcdError as error:
            view.etcd_problem = str(error)
    return view


def certificate_ends(paths: Paths) -> dict[str, str]:
    """Return when each certificate of this node ends, by file."""
    found = {}
    for path in sorted(paths.pki.rglob("*.crt")):
        certificate = read_certificate(path)
        if certificate:
            found[f"pki/{path.relative_to(paths.pki)}"] = certificate.not_after.isoformat()
    for name in KUBECONFIGS:
        try:
            held = load_kubeconfig(paths.kubernetes / name).certificate
            found[name] = parse_certificate(held).not_after.isoformat()
        except (KubeconfigError, CertificateError):
            continue
    return found


def not_ready(view: ClusterView, names: t.Sequence[str]) -> list[str]:
    """Say of each node in `names` that is not ready why."""
    if not view.answers:
        return [f"the API does not answer ({view.problem})"]
    known = {node.name: node for node in view.nodes}
    missing = [f"{name} is not in the cluster" for name in names if name not in known]
    waiting = [known[name] for name in names if name in known and not known[name].ready]
    return missing + [f"{node.name}: {node.message or 'it has not said anything yet'}" for node in waiting]


def ask_membership(kubelet_conf: Path, name: str) -> tuple[bool | None, str]:
    """Ask the node's cluster, with the kubelet's certificate, whether it knows the node."""
    try:
        answer = Client(load_kubeconfig(kubelet_conf)).request(f"/api/v1/nodes/{name}")
    except KubeconfigError as error:
        return None, f"{kubelet_conf}: {error}"
    if answer.ok:
        return True, ""
    if answer.status == 404:
        return False, ""
    return None, f"{answer.status or 'no answer'}: {answer.body[:300]}"


def days_left(end: datetime) -> int:
    """Return the whole days until `end`."""
    return (end - datetime.now(timezone.utc)).days


def probe(
    paths: Paths | None = None, run: Runner = run_program, port: int = 6443, view: bool = True
) -> NodeState:
    """Find out what is true on this node; `view` also asks the API with admin.conf where there is one."""
    paths = paths or Paths()
    node = NodeState()
    node.files = sorted(name for name in KUBECONFIGS if (paths.kubernetes / name).exists())
    node.manifests = kubeadm_manifests(paths.manifests)
    node.certificates = _files_below(paths.pki)
    node.etcd_data = paths.etcd_member.exists()
    node.kubelet_config = (paths.kubelet / "config.yaml").exists()
    node.kubelet = kubelet_service(run)
    code, out, _err = run(["kubeadm", "version", "-o", "short"])
    version = re.search(r"v?(\d+\.\d+\.\d+\S*)", out) if code == 0 else None
    node.kubeadm_version = version.group(1) if version else ""
    marker = read_marker(paths.marker)
    node.initialisation = str(marker.get("state", ""))
    node.joining = str(read_marker(paths.join_marker).get("state", ""))
    node.kept = [str(name) for name in marker.get("kept", [])]

    authority = read_certificate(paths.pki / "ca.crt")
    node.ca_pin = authority.pin if authority else ""
    serving = read_certificate(paths.pki / "apiserver.crt")
    if serving:
        node.api_certificate_expiry = serving.not_after.isoformat()
        node.api_certificate_days = days_left(serving.not_after)
    node.certificate_ends = certificate_ends(paths)
    if "admin.conf" in node.files:
        with contextlib.suppress(KubeconfigError):
            node.cluster_endpoint = load_kubeconfig(paths.kubernetes / "admin.conf").server
    if "kubelet.conf" in node.files:
        _read_kubelet_conf(node, paths)
    node.state = classify(node)
    if "kube-apiserver.yaml" in node.manifests:
        node.api, node.api_problem = api_health(paths, port)
    else:
        node.api = dict.fromkeys(HEALTH_PATHS, 0)
    if node.name and (node.state == "worker" or node.api_ready):
        node.member, node.member_problem = ask_membership(paths.kubernetes / "kubelet.conf", node.name)
    if view and node.api_ready and "admin.conf" in node.files:
        node.cluster = cluster_view(paths, port)
    return node


def _read_kubelet_conf(node: NodeState, paths: Paths) -> None:
    try:
        config = load_kubeconfig(paths.kubernetes / "kubelet.conf")
        node.endpoint = config.server
        node.kubelet_ca_pin = parse_certificate(config.authority).pin
        node.name = parse_certificate(config.certificate).common_name.replace("system:node:", "", 1)
    except (KubeconfigError, CertificateError) as error:
        node.member_problem = f"{paths.kubernetes / 'kubelet.conf'}: {error}"
