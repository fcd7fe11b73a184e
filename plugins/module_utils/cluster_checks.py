# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks that a cluster has to pass, asked on its nodes, and the list that a person reads.

A node asks the cluster's DNS and API through their service addresses: that takes kube-proxy's rules, and the
pod network when the DNS server runs on another node. The first control plane also asks the API what it
thinks.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
import typing as t
from dataclasses import asdict, dataclass, field

from .kubeconfig import Client, Kubeconfig, KubeconfigError, load_kubeconfig
from .node_state import Paths, cluster_view, days_left, kubelet_service, read_certificate
from .programs import Runner, run_program

NODES = "nodes Ready"
SYSTEM = "CoreDNS and kube-proxy"
NETWORK = "pod network"
API = "API"
WORKERS = "workers joined"
RIGHTS = "admin rights (RBAC)"
CERTIFICATES = "certificates"
ORDER = (NODES, SYSTEM, NETWORK, API, WORKERS, RIGHTS, CERTIFICATES)
#: Stands below the seven where it was done.
WORKLOAD = "a deployment"


@dataclass(frozen=True)
class Check:
    """One result of one check on one node."""

    name: str
    ok: bool
    detail: str = ""
    warning: bool = False


@dataclass
class Question:
    """What a node is asked. `members`, `workers` and `absent` are for the first control plane only."""

    dns_server: str
    dns_name: str
    api_service: str
    members: t.Sequence[str] = field(default_factory=list)
    workers: t.Sequence[str] = field(default_factory=list)
    absent: t.Sequence[str] = field(default_factory=list)
    whole_cluster: bool = False
    certificate_days: int = 30


def service_address(services: str, number: int) -> str:
    """Return the address that Kubernetes takes from a service range: 1 is the API, 10 the DNS."""
    return str(ipaddress.ip_network(services.split(",", 1)[0].strip())[number])


def dns_query(name: str, identifier: int) -> bytes:
    """Return a query for the IPv4 address of `name`."""
    labels = b"".join(bytes([len(part)]) + part.encode("ascii") for part in name.rstrip(".").split("."))
    return struct.pack(">HHHHHH", identifier, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", 1, 1)


def _skip_name(reply: bytes, at: int) -> int:
    while reply[at]:
        if reply[at] & 0xC0:
            return at + 2
        at += reply[at] + 1
    return at + 1


def dns_addresses(reply: bytes, identifier: int) -> list[str]:
    """Read the IPv4 addresses from an answer; ValueError says what was wrong with it."""
    try:
        got, flags, questions, answers = struct.unpack(">HHHH", reply[:8])
        if got != identifier or not flags & 0x8000:
            raise ValueError("not an answer to the question")
        if flags & 0x000F:
            raise ValueError(f"DNS error {flags & 0x000F}")
        at = 12
        for _number in range(questions):
            at = _skip_name(reply, at) + 4
        found = []
        for _number in range(answers):
            at = _skip_name(reply, at)
            kind, _class, _ttl, length = struct.unpack(">HHIH", reply[at : at + 10])
            if kind == 1 and length == 4:
                found.append(socket.inet_ntoa(reply[at + 10 : at + 14]))
            at += 10 + length
    except (IndexError, struct.error) as error:
        raise ValueError("an answer that cannot be read") from error
    return found


def resolve(server: str, name: str, timeout: float = 2.0, port: int = 53) -> list[str]:
    """Ask one DNS server by UDP for the IPv4 addresses of `name`."""
    identifier = int.from_bytes(os.urandom(2), "big")
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as link:
        link.settimeout(timeout)
        link.connect((server, port))
        link.send(dns_query(name, identifier))
        return dns_addresses(link.recv(4096), identifier)


def check_network(question: Question) -> Check:
    """Ask the cluster's DNS through its service address."""
    try:
        found = resolve(question.dns_server, question.dns_name)
    except (OSError, ValueError) as error:
        said = str(error) or type(error).__name__
        return Check(NETWORK, False, f"{question.dns_server} does not resolve {question.dns_name}: {said}")
    right = question.api_service in found
    return Check(NETWORK, right, f"{question.dns_name} is {', '.join(found) or 'not known'}")


def check_api(question: Question, paths: Paths) -> Check:
    """Ask the API through its service address, its certificate checked."""
    host = f"[{question.api_service}]" if ":" in question.api_service else question.api_service
    try:
        config = load_kubeconfig(paths.kubernetes / "kubelet.conf")
        answer = Client(Kubeconfig(f"https://{host}:443", config.authority, b"", b""), timeout=3).request(
            "/healthz"
        )
    except KubeconfigError as error:
        return Check(API, False, str(error))
    return Check(
        API, answer.ok, "healthz ok" if answer.ok else f"healthz: {answer.status or ''} {answer.body[:200]}"
    )


def check_kubelet(run: Runner) -> Check:
    """Ask the kubelet's own health check."""
    kubelet = kubelet_service(run)
    return Check(
        NODES, kubelet.healthy, "" if kubelet.healthy else f"kubelet is {kubelet.active}, not healthy"
    )


def check_certificates(question: Question, paths: Paths) -> Check:
    """Read when the first of the certificates here ends; only one that has ended fails the check."""
    files = [
        *paths.pki.glob("*.crt"),
        *paths.pki.glob("etcd/*.crt"),
        paths.kubelet / "pki/kubelet-client-current.pem",
    ]
    ends, unreadable = [], []
    for path in files:
        certificate = read_certificate(path)
        if certificate:
            ends.append((days_left(certificate.not_after), path.name))
        elif path.exists():
            unreadable.append(path.name)
    if unreadable or not ends:
        return Check(CERTIFICATES, False, f"{', '.join(unreadable)} cannot be read" if ends else "none found")
    days, name = min(ends)
    detail = f"{name} ends in {days} days" if days >= 0 else f"{name} has ended"
    return Check(CERTIFICATES, days >= 0, detail, warning=days < question.certificate_days)


def _pod_ready(pod: t.Mapping[str, t.Any]) -> bool:
    status = pod.get("status", {})
    conditions = {c.get("type"): c.get("status") for c in status.get("conditions", [])}
    return status.get("phase") == "Succeeded" or conditions.get("Ready") == "True"


def check_system_pods(pods: t.Sequence[t.Mapping[str, t.Any]], members: t.Sequence[str]) -> Check:
    """All pods of kube-system on `members` are ready, and there are CoreDNS and kube-proxy.

    Pods on other nodes are those of machines that are switched off: they are somebody else's check.
    """
    apps = {str((pod.get("metadata", {}).get("labels") or {}).get("k8s-app", "")) for pod in pods}
    # Cilium may do kube-proxy's work; that services are reached is a check of its own.
    wanted = {"CoreDNS": "kube-dns", **({} if "cilium" in apps else {"kube-proxy": "kube-proxy"})}
    missing = [name for name, app in wanted.items() if app not in apps]
    here = [pod for pod in pods if pod.get("spec", {}).get("nodeName", "") in ("", *members)]
    waiting = [str(pod.get("metadata", {}).get("name")) for pod in here if not _pod_ready(pod)]
    problems = [f"{name} is missing" for name in missing] + [f"{name} is not ready" for name in waiting]
    return Check(SYSTEM, not problems, "; ".join(problems) or f"{len(here)} pods of kube-system are ready")


def check_workers(question: Question, known: t.Container[str]) -> Check:
    """All workers are nodes; those that took no part in this run are named."""
    missing = sorted(name for name in question.workers if name not in known)
    if missing:
        return Check(WORKERS, False, f"not in the cluster: {', '.join(missing)}")
    count = f"{len(question.workers)} of {len(question.workers) + len(question.absent)}"
    if question.absent:
        return Check(WORKERS, True, f"{count}; not in this run: {', '.join(question.absent)}", warning=True)
    return Check(WORKERS, True, count)


def check_cluster(question: Question, paths: Paths) -> list[Check]:
    """Ask the API, as the administrator, what it thinks of the cluster."""
    view = cluster_view(paths)
    if not view.answers:
        return [Check(API, False, view.problem)]
    client = Client(load_kubeconfig(paths.kubernetes / "admin.conf"))
    ready = {node.name for node in view.nodes if node.ready}
    known = {node.name for node in view.nodes}
    waiting = sorted((set(question.members) & known) - ready) + sorted(set(question.members) - known)
    nodes = Check(
        NODES,
        not waiting,
        f"not ready: {', '.join(waiting)}" if waiting else f"{', '.join(sorted(ready))} ready",
    )
    workers = check_workers(question, known)
    pods = client.request("/api/v1/namespaces/kube-system/pods")
    items = (pods.json() or {}).get("items") or []
    system = check_system_pods(items, question.members) if pods.ok else Check(SYSTEM, False, pods.body[:200])
    review = client.request(
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        "POST",
        {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {"verb": "*", "group": "*", "resource": "*"}},
        },
    )
    allowed = review.ok and bool((review.json() or {}).get("status", {}).get("allowed"))
    rights = Check(
        RIGHTS, allowed, "admin.conf may do everything" if allowed else "admin.conf may not do everything"
    )
    return [nodes, system, workers, rights]


def ask(question: Question, paths: Paths | None = None, run: Runner = run_program) -> list[Check]:
    """Do all checks that this node can do, once."""
    paths = paths or Paths()
    checks = [check_kubelet(run), check_network(question), check_api(question, paths)]
    checks.append(check_certificates(question, paths))
    return checks + (check_cluster(question, paths) if question.whole_cluster else [])


def as_dicts(checks: t.Sequence[Check]) -> list[dict[str, t.Any]]:
    """Return plain data."""
    return [asdict(check) for check in checks]


def report(results: t.Mapping[str, t.Sequence[t.Mapping[str, t.Any]]]) -> list[str]:
    """Return the list that a person reads: a line a check, with a tick and what was found or is wrong."""
    lines = []
    for name in (*ORDER, WORKLOAD):
        found = [
            (host, check) for host, checks in results.items() for check in checks if check["name"] == name
        ]
        if not found:
            if name in ORDER:
                lines.append(f"✘ {name}: nobody could be asked")
            continue
        wrong = [f"{host}: {check['detail']}" for host, check in found if not check["ok"]]
        soon = [f"{host}: {check['detail']}" for host, check in found if check["ok"] and check.get("warning")]
        fine = list(dict.fromkeys(str(check["detail"]) for _host, check in found if check["detail"]))
        mark = "✘" if wrong else "!" if soon else "✔"
        lines.append(f"{mark} {name}: {'; '.join(wrong or soon or fine) or 'fine'}")
    return lines
