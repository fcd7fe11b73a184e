# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Collect on a node what tells why something does not work: texts for a person, facts for the table.

Whatever is broken, this ends in time and with something: each source has a limit of its own and may fail
alone. Nothing is written to the node's disks, which may be full.
"""

from __future__ import annotations

import contextlib
import email.utils
import io
import json
import os
import re
import socket
import ssl
import tarfile
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

from . import cri
from .cluster_checks import resolve
from .diagnosis import Disk, Facts, Lifetime, Process, Runtime
from .grpc_unary import GrpcError
from .kubeconfig import Client, KubeconfigError, load_kubeconfig
from .leftovers import Host
from .node_state import probe
from .redacting import redact
from .x509 import CertificateError, parse_certificate

#: Of each text the end is kept: what was said last.
TEXT_LIMIT = 400_000
LOGS_OF_ONE_CONTAINER = "200"
CONTAINERS = 24
UNITS = ("kubelet", "containerd", "crio", "haproxy", "keepalived")
JOINED = ("control_plane", "worker")
_DAY = 86400.0
#: Kubernetes' own conditions of a node that should be true; all others should be false.
_GOOD_CONDITIONS = ("Ready",)
_CONDITIONS = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable")


def commands(host: Host, since: str) -> dict[str, list[str]]:
    """Return the programs whose output is collected, by the name of the text."""
    crictl = ["crictl", "--runtime-endpoint", host.cri_socket, "--timeout", "8s"]
    journal = ["journalctl", "--no-pager", "--output=short-iso", f"--since={since}", "--lines=2000"]
    units = [f"{name}.service" for name in UNITS]
    return {
        "units": ["systemctl", "status", "--no-pager", "--full", "--lines=5", *units],
        "units-failed": ["systemctl", "list-units", "--no-pager", "--failed"],
        **{f"journal-{name}": [*journal, f"--unit={name}.service"] for name in UNITS},
        "kernel": [*journal, "--dmesg"],
        "processes": ["ps", "-e", "-o", "pid,ppid,user,stat,etimes,rss,pcpu,args", "--sort=-rss", "-ww"],
        "containers": [*crictl, "ps", "--all"],
        "pods": [*crictl, "pods"],
        "images": [*crictl, "images"],
        "runtime": [*crictl, "info"],
        "ports": ["ss", "--listening", "--numeric", "--tcp", "--udp", "--processes"],
        "connections": ["ss", "--tcp", "--numeric", "--processes"],
        "disk": ["df", "--human-readable", "--print-type"],
        "inodes": ["df", "--inodes"],
        "mounts": ["findmnt", "--list"],
        "memory": ["free", "--mebi", "--wide"],
        "time": ["timedatectl", "status"],
        "addresses": ["ip", "-details", "address"],
        "routes": ["ip", "route", "show", "table", "all"],
        "rules": ["ip", "rule"],
        "iptables": ["iptables-save"],
        "nftables": ["nft", "list", "ruleset"],
        "files-kubernetes": ["find", "/etc/kubernetes", "/etc/cni", "/opt/cni/bin", "-ls"],
        "files-kubelet": ["find", "/var/lib/kubelet", "-xdev", "-maxdepth", "3", "-ls"],
        "files-etcd": ["find", "/var/lib/etcd", "-maxdepth", "3", "-ls"],
        "versions": ["uname", "-a"],
        "version-kubelet": ["kubelet", "--version"],
        "version-kubeadm": ["kubeadm", "version", "-o", "short"],
        "version-containerd": ["containerd", "--version"],
        "modules": ["lsmod"],
    }


#: Files whose text is collected. Keys, kubeconfigs and encryption settings are not among them.
FILES = (
    "/etc/os-release",
    "/etc/hosts",
    "/etc/resolv.conf",
    "/etc/fstab",
    "/etc/containerd/config.toml",
    "/etc/crio/crio.conf",
    "/etc/haproxy/haproxy.cfg",
    "/etc/keepalived/keepalived.conf",
    "/etc/kubernetes/manifests/*.yaml",
    "/etc/cni/net.d/*",
    "/etc/sysctl.d/*kube*",
    "/proc/meminfo",
    "/proc/loadavg",
    "/proc/pressure/*",
    "/run/flannel/subnet.env",
    "/var/lib/kubelet/config.yaml",
    "/var/lib/kubelet/kubeadm-flags.env",
    "/var/log/kubeadm-init.log",
    "/var/log/kubeadm-join.log",
    "/var/log/kubeadm-join-failure.log",
)


def _tail(text: str) -> str:
    return text if len(text) <= TEXT_LIMIT else "…\n" + text[-TEXT_LIMIT:]


def _run(host: Host, argv: t.Sequence[str]) -> str:
    code, out, err = host.run(argv, None, 15)
    if code == 127:
        return ""
    notes = "\n".join(part for part in (err.strip(), f"exit code {code}" if code else "") if part)
    return _tail(out) + (f"\n--- {notes}\n" if notes else "")


def read_files(host: Host) -> dict[str, str]:
    """Read the files; kubeadm's logs get names that the table of troubles knows."""
    texts = {}
    for pattern in FILES:
        for path in sorted(host.paths.root.glob(pattern.lstrip("/"))):
            with contextlib.suppress(OSError):
                text = path.read_text(encoding="utf-8", errors="replace")
                name = "/" + str(path.relative_to(host.paths.root))
                texts[Path(name).stem if "/var/log/" in name else f"files{name}"] = _tail(text)
    return texts


def containers(host: Host) -> list[dict[str, t.Any]]:
    """Return all containers that the runtime has, the youngest first."""
    argv = [
        "crictl",
        "--runtime-endpoint",
        host.cri_socket,
        "--timeout",
        "8s",
        "ps",
        "--all",
        "--output=json",
    ]
    code, out, _err = host.run(argv, None, 15)
    try:
        found = json.loads(out).get("containers") if code == 0 else None
    except ValueError:
        found = None
    return sorted(found or [], key=lambda one: str(one.get("createdAt", "")), reverse=True)


def _name(container: t.Mapping[str, t.Any]) -> str:
    return str((container.get("metadata") or {}).get("name", ""))


def _labels(container: t.Mapping[str, t.Any]) -> t.Mapping[str, str]:
    return container.get("labels") or {}


def ended(found: t.Sequence[t.Mapping[str, t.Any]]) -> list[str]:
    """Return names of the cluster's own containers that have ended more than once and do not run now."""
    names = set()
    latest: dict[tuple[str, str], t.Mapping[str, t.Any]] = {}
    running = set()
    for container in found:  # the youngest first
        pod = _labels(container).get("io.kubernetes.pod.name", "")
        if container.get("state") == "CONTAINER_RUNNING":
            running.add(pod)
        if pod not in running or container.get("state") == "CONTAINER_RUNNING":
            # What has ended before the pod's present one began has only prepared it, after each reboot.
            latest.setdefault((pod, _name(container)), container)
    for (_pod, name), container in latest.items():
        space = _labels(container).get("io.kubernetes.pod.namespace", "")
        attempt = int((container.get("metadata") or {}).get("attempt") or 0)
        if space.startswith("kube-") and container.get("state") == "CONTAINER_EXITED" and attempt >= 1:
            names.add(name)
    return sorted(names)


def container_logs(host: Host, found: t.Sequence[t.Mapping[str, t.Any]]) -> dict[str, str]:
    """Return the last lines of the cluster's containers: of each the two youngest."""
    texts: dict[str, str] = {}
    count: dict[str, int] = {}
    wanted = []
    for container in found:
        space, name = _labels(container).get("io.kubernetes.pod.namespace", ""), _name(container)
        pod = _labels(container).get("io.kubernetes.pod.name", "")
        if space.startswith(("kube-", "calico", "tigera")) and count.setdefault(f"{pod}/{name}", 0) < 2:
            count[f"{pod}/{name}"] += 1
            wanted.append((f"logs/{name}-{str(container.get('id', ''))[:12]}", str(container.get("id", ""))))
    crictl = ["crictl", "--runtime-endpoint", host.cri_socket, "--timeout", "8s", "logs", "--tail"]
    for name, identifier in wanted[:CONTAINERS]:
        code, out, err = host.run([*crictl, LOGS_OF_ONE_CONTAINER, identifier], None, 10)
        texts[name] = _tail(out + err) if code == 0 else err
    return texts


# Facts


def runtime_facts(host: Host) -> Runtime:
    """Ask the runtime by its socket, and systemd about its unit."""
    path = host.cri_socket.partition("://")[2] or host.cri_socket
    unit = "crio.service" if "crio" in path else "containerd.service"
    code, out, _err = host.run(["systemctl", "show", unit, "--property=LoadState,ActiveState"])
    shown = dict(line.split("=", 1) for line in out.splitlines() if "=" in line) if code == 0 else {}
    found = Runtime(
        unit=unit,
        socket=path,
        installed=shown.get("LoadState") == "loaded",
        active=shown.get("ActiveState", "unknown"),
    )
    try:
        cri.ask(path)
    except (OSError, GrpcError) as error:
        found.answers, found.problem = False, str(error)
    with contextlib.suppress(OSError):
        text = host.under("/etc/containerd/config.toml").read_text(encoding="utf-8", errors="replace")
        match = re.search(r"^\s*SystemdCgroup\s*=\s*(true|false)", text, re.MULTILINE)
        if match and unit.startswith("containerd"):
            found.systemd_cgroup = match.group(1) == "true"
    return found


def kubeadm_processes(host: Host) -> list[Process]:
    """Return the processes of kubeadm, and how long they have been running."""
    _code, out, _err = host.run(["ps", "-C", "kubeadm", "-o", "pid=,etimes=,args=", "-ww"])
    rows = [line.split(None, 2) for line in out.splitlines()]
    return [Process(int(row[0]), float(row[1]), redact(row[2])) for row in rows if len(row) == 3]


def listeners(text: str) -> dict[int, str]:
    """Read who listens from the output of `ss`; one who listens on the loopback only counts as well."""
    found: dict[int, str] = {}
    for line in text.splitlines():
        match = re.search(r"^tcp\s+LISTEN\s.*?[\]*\d]:(\d+)\s.*?users:\(\(\"([^\"]+)\"", line)
        if match:
            found.setdefault(int(match.group(1)), match.group(2))
    return found


def _share(path: str) -> Disk | None:
    try:
        found = os.statvfs(path)
    except OSError:
        return None
    used = 100 * (1 - found.f_bavail / found.f_blocks) if found.f_blocks else 0.0
    inodes = 100 * (1 - found.f_favail / found.f_files) if found.f_files else 0.0
    return Disk(path, round(used, 1), round(inodes, 1))


def disks(host: Host) -> list[Disk]:
    """Return how full the file systems are that a node lives on, each once."""
    found, seen = [], set()
    for path in (
        "/",
        "/var",
        "/var/lib/kubelet",
        "/var/lib/containerd",
        "/var/lib/containers",
        "/var/lib/etcd",
        "/var/log",
    ):
        place = host.under(path)
        with contextlib.suppress(OSError):
            device = place.stat().st_dev
            share = _share(str(place))
            if share and device not in seen:
                seen.add(device)
                found.append(Disk(path, share.used, share.inodes))
    return found


def certificate_lifetimes(host: Host) -> list[Lifetime]:
    """Return the certificates of this node, in days from now."""
    now = datetime.now(timezone.utc)
    files = [
        *host.paths.pki.glob("*.crt"),
        *host.paths.pki.glob("etcd/*.crt"),
        host.paths.kubelet / "pki/kubelet-client-current.pem",
    ]
    found = []
    for path in sorted(files):
        with contextlib.suppress(OSError, CertificateError):
            certificate = parse_certificate(path.read_bytes())
            name = "/" + str(path.relative_to(host.paths.root))
            begins = (certificate.not_before - now).total_seconds() / _DAY
            found.append(Lifetime(name, begins, (certificate.not_after - now).total_seconds() / _DAY))
    return found


def ahead_of(address: str, timeout: float = 4) -> float | None:
    """Return how many seconds this clock is ahead of an HTTPS server's; None when it does not say.

    Who the server is is not checked: with a wrong clock no certificate could be, and nothing secret is said.
    """
    place = urlsplit(address)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = HTTPSConnection(place.hostname or "", place.port or 443, timeout=timeout, context=context)
    try:
        connection.request("HEAD", "/livez")
        said = connection.getresponse().getheader("Date")
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()
    theirs = email.utils.parsedate_to_datetime(said) if said else None
    return round(time.time() - theirs.timestamp(), 1) if theirs else None


def endpoint_problem(address: str, timeout: float = 4) -> str:
    """Return why nobody can be reached there; empty when somebody can."""
    place = urlsplit(address)
    try:
        socket.create_connection((place.hostname or "", place.port or 443), timeout).close()
    except OSError as error:
        return error.strerror or str(error) or type(error).__name__
    return ""


def mtus(host: Host) -> dict[str, int]:
    """Return the MTU of each link."""
    found = {}
    for path in host.under("/sys/class/net").glob("*/mtu"):
        with contextlib.suppress(OSError, ValueError):
            found[path.parent.name] = int(path.read_text(encoding="ascii"))
    return found


def uplink(host: Host, endpoint: str) -> str:
    """Return the link by which this machine reaches the API, else the one of the default route."""
    target = urlsplit(endpoint).hostname or ""
    for argv in (["ip", "route", "get", target], ["ip", "route", "show", "default"]):
        code, out, _err = host.run(argv) if argv[-1] else (1, "", "")
        match = re.search(r"\bdev (\S+)", out) if code == 0 else None
        if match and match.group(1) != "lo":
            return match.group(1)
    return ""


def kubelet_settings(host: Host) -> tuple[str, str]:
    """Return the kubelet's cgroup driver and the address of the cluster's DNS."""
    try:
        text = (host.paths.kubelet / "config.yaml").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "", ""
    driver = re.search(r"^cgroupDriver: *(\w+)", text, re.MULTILINE)
    dns = re.search(r"^clusterDNS:\n *- *[\"']?([^\s\"']+)", text, re.MULTILINE)
    return driver.group(1) if driver else "", dns.group(1) if dns else ""


def bad_conditions(node: t.Mapping[str, t.Any]) -> dict[str, str]:
    """Return what a Node object says is not as it should be."""
    found = {}
    for condition in (node.get("status") or {}).get("conditions") or []:
        kind, status = str(condition.get("type")), str(condition.get("status"))
        if kind in _CONDITIONS and status != ("True" if kind in _GOOD_CONDITIONS else "False"):
            told = condition.get("message") or condition.get("reason") or status
            found["not Ready" if kind == "Ready" else kind] = str(told)
    return found


class Collector:
    """One collection on one machine."""

    def __init__(self, host: Host, name: str, since: str = "-45min") -> None:
        """name: how the machine is called. since: as journalctl takes it."""
        self.host = host
        self.since = since
        self.facts = Facts(host=name)
        self.texts: dict[str, str] = {}

    def collect(self, failure: str = "", controller_time: float | None = None, workers: int = 6) -> None:
        """Collect everything; `failure` is the failed task's message."""
        # A clock that is ahead looks like a slow connection; one that is behind looks like nothing else.
        if controller_time is not None and time.time() < controller_time:
            self.facts.ahead_of_controller = round(time.time() - controller_time, 1)
        with ThreadPoolExecutor(workers) as pool:
            outputs = {
                name: pool.submit(_run, self.host, argv)
                for name, argv in commands(self.host, self.since).items()
            }
            found = pool.submit(containers, self.host)
            facts = pool.submit(self._ask)
            files = pool.submit(read_files, self.host)
            logs = container_logs(self.host, found.result())
            self.texts = {name: output.result() for name, output in outputs.items()}
            self.texts.update(files.result())
            self.texts.update(logs)
            facts.result()
        self.facts.listeners = listeners(self.texts["ports"])
        self.facts.dead_containers = ended(found.result())
        if failure:
            self.texts["failure"] = failure
        self.texts = {name: redact(text) for name, text in self.texts.items() if text.strip()}

    def _ask(self) -> None:
        facts, host = self.facts, self.host
        facts.runtime = runtime_facts(host)
        facts.node = probe(host.paths, host.run).as_dict()
        _code, out, _err = host.run(["systemctl", "show", "kubelet.service", "--property=NRestarts"])
        restarts = out.partition("=")[2].strip()
        facts.kubelet_restarts = int(restarts) if restarts.isdigit() else 0
        facts.kubeadm = kubeadm_processes(host)
        facts.disks = disks(host)
        facts.certificates = certificate_lifetimes(host)
        facts.kubelet_cgroup_driver, dns = kubelet_settings(host)
        endpoint = str(facts.node.get("endpoint", ""))
        facts.mtus, facts.uplink = mtus(host), uplink(host, endpoint)
        with contextlib.suppress(OSError):
            rows = host.under("/proc/swaps").read_text(encoding="utf-8").splitlines()[1:]
            facts.swap = [row.split()[0] for row in rows if row.split()]
        if facts.state in JOINED and endpoint:
            facts.endpoint_problem = endpoint_problem(endpoint)
            if not facts.endpoint_problem:
                facts.ahead_of_api = ahead_of(endpoint)
                self._ask_api()
        if facts.state in JOINED and facts.kubelet_healthy and dns:
            try:
                resolve(dns, "kubernetes.default.svc.cluster.local")
                facts.dns_problem = ""
            except (OSError, ValueError) as error:
                facts.dns_problem = str(error) or type(error).__name__

    def _ask_api(self) -> None:
        """Ask what the API says of this node, and on a control plane of the whole cluster."""
        kubernetes = self.host.paths.kubernetes
        with contextlib.suppress(KubeconfigError):
            client = Client(load_kubeconfig(kubernetes / "kubelet.conf"))
            answer = client.request(f"/api/v1/nodes/{self.facts.node.get('name', '')}")
            if answer.ok:
                self.facts.conditions = bad_conditions(answer.json() or {})
        if (kubernetes / "admin.conf").exists():
            self._ask_as_administrator()

    def _ask_as_administrator(self) -> None:
        try:
            config = load_kubeconfig(self.host.paths.kubernetes / "admin.conf")
            client = Client(config)
        except KubeconfigError as error:
            self.facts.admin_allowed, self.texts["api-admin"] = False, str(error)
            return
        with contextlib.suppress(CertificateError):
            self.facts.admin_organisations = list(parse_certificate(config.certificate).organisations)
        review = client.request(
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            "POST",
            {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectAccessReview",
                "spec": {"resourceAttributes": {"verb": "*", "group": "*", "resource": "*"}},
            },
        )
        if review.ok:
            self.facts.admin_allowed = bool((review.json() or {}).get("status", {}).get("allowed"))
        elif review.status in (401, 403):
            self.facts.admin_allowed = False


def api_texts(host: Host) -> dict[str, str]:
    """Return what kubectl shows of the cluster, where this node has an administrator's kubeconfig."""
    config = host.paths.kubernetes / "admin.conf"
    if not config.exists():
        return {}
    kubectl = ["kubectl", f"--kubeconfig={config}", "--request-timeout=8s"]
    asked = {
        "api-nodes": ["get", "nodes", "--output=wide"],
        "api-nodes-described": ["describe", "nodes"],
        "api-pods": ["get", "pods", "--all-namespaces", "--output=wide"],
        "api-events": ["get", "events", "--all-namespaces", "--sort-by=.lastTimestamp"],
        "api-warnings": ["get", "events", "--all-namespaces", "--field-selector=type=Warning"],
        "api-health": ["get", "--raw", "/readyz?verbose"],
    }
    return {name: _run(host, [*kubectl, *words]) for name, words in asked.items()}


def pack(folder: str, texts: t.Mapping[str, str]) -> bytes:
    """Return an archive (tar.gz) of texts, a file each."""
    packed = io.BytesIO()
    now = time.time()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=6) as archive:
        for name, text in sorted(texts.items()):
            content = text.encode("utf-8", "replace")
            member = tarfile.TarInfo(f"{folder}/{name}{'' if '.' in Path(name).name else '.txt'}")
            member.size, member.mtime, member.mode = len(content), int(now), 0o600
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()
