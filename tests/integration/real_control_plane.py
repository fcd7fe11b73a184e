# SPDX-License-Identifier: GPL-3.0-or-later
"""A control plane without a kubelet: etcd and API server of the bundle, made by its kubeadm, as processes.

    unshare --mount --net --propagation private python -m tests.integration.real_control_plane FOLDER

In namespaces of its own, so that nothing of this computer changes: /etc is a copy, the network is loopback.
It does what is asked of it and prints what came of it, as JSON.
"""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml

from kubestead.model.admin_access import AdminAccess
from kubestead.model.cluster_certificates import SIGNED, ClusterCertificates
from kubestead.model.etcd import Etcd
from kubestead.model.initialising import ENCRYPTION, encryption_configuration
from kubestead.model.join_material import Material, MaterialOptions
from kubestead.model.joining import Material as Secrets
from kubestead.model.joining import with_secrets
from kubestead.model.leftovers import Host
from kubestead.model.node_state import Paths, api_health, cluster_view, local_client, read_certificate

FIRST, SECOND = "10.0.0.11", "10.0.0.12"
PORT = 6443
PATHS = Paths()
HOST = Host()


class ControlPlane:
    """The one that runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = (folder / "kubeadm.yaml").read_text()
        self.processes: list[subprocess.Popen[bytes]] = []

    def kubeadm(self, *words: str) -> str:
        """Run kubeadm with the configuration of the cluster."""
        code, out, err = HOST.run(["kubeadm", *words, "--config", "/dev/stdin"], self.config, 120)
        if code:
            raise RuntimeError(f"kubeadm {' '.join(words)}: {err}")
        return out

    def make(self) -> None:
        """Files as `kubeadm init` makes them, then the two processes of its manifests."""
        for address in (FIRST, SECOND):
            subprocess.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], check=True)
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        copy = self.folder / "etc"
        shutil.copytree("/etc", copy, symlinks=True, ignore=shutil.ignore_patterns("kubernetes"))
        (copy / "kubernetes" / "api-server").mkdir(parents=True)
        subprocess.run(["mount", "--bind", str(copy), "/etc"], check=True)
        for phase in ("certs", "kubeconfig"):
            self.kubeadm("init", "phase", phase, "all")
        self.kubeadm("init", "phase", "control-plane", "apiserver")
        self.kubeadm("init", "phase", "etcd", "local")
        shutil.copy(self.folder / "audit-policy.yaml", PATHS.api_server)
        (PATHS.api_server / ENCRYPTION).write_text(encryption_configuration(secrets.token_bytes(32)))
        for name in ("etcd", "kube-apiserver"):
            self.start(name)
        self.wait_ready()

    def wait_ready(self) -> None:
        """Wait for the API server."""
        until = time.monotonic() + 300
        while api_health(PATHS, PORT)[0]["readyz"] != 200:
            if time.monotonic() > until or any(process.poll() is not None for process in self.processes):
                raise RuntimeError((self.folder / "kube-apiserver.log").read_text()[-3000:])
            time.sleep(0.5)

    def start(self, name: str) -> None:
        """Run what a static pod would run, its data in our folder."""
        pod = yaml.safe_load((PATHS.manifests / f"{name}.yaml").read_text())
        (self.folder / "audit").mkdir(exist_ok=True)
        command = [
            word.replace("/var/lib/etcd", str(self.folder / "etcd")).replace(
                "/var/log/kubernetes/audit", str(self.folder / "audit")
            )
            for word in pod["spec"]["containers"][0]["command"]
        ]
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT))

    def end(self) -> None:
        """End both at once: nothing of them is needed any longer."""
        while self.processes:
            process = self.processes.pop()
            process.kill()
            process.wait()


def administrator(cluster: ControlPlane) -> dict[str, Any]:
    """What becomes of an admin.conf without rights, of the wrong group, and of an empty one."""
    access = AdminAccess(HOST, "cp-1", cluster.config, PORT)
    told = {"unbound": access.repair(), "bound": access.repair()}
    stranger = cluster.kubeadm("kubeconfig", "user", "--client-name=x", "--org=nobody")
    access.path.write_text(stranger)
    told["stranger"] = access.repair()
    access.path.write_text("")
    told["empty"] = access.repair()
    return {**told, "left": access.problem()}


def join_material(cluster: ControlPlane) -> dict[str, Any]:
    """What a further control plane is given, what it takes from it, and what is left afterwards."""
    cluster.kubeadm("init", "phase", "upload-config", "kubeadm")
    log = cluster.folder / "kubeadm-init.log"
    options = MaterialOptions(
        "cp-1", timedelta(minutes=15), "cp-2 joins", True, PORT, "unix:///run/none.sock", log
    )
    material = Material(options, HOST)
    made = material.make()
    client = local_client(PATHS, PORT, admin=True)

    def names() -> list[str]:
        answer = client.request("/api/v1/namespaces/kube-system/secrets").json()
        return sorted(item["metadata"]["name"] for item in answer["items"])

    there = names()
    authority = read_certificate(PATHS.pki / "ca.crt")
    document = {
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "JoinConfiguration",
        "nodeRegistration": {"name": "cp-2", "criSocket": "unix:///run/none.sock"},
        "controlPlane": {"localAPIEndpoint": {"advertiseAddress": SECOND, "bindPort": PORT}},
        "discovery": {
            "bootstrapToken": {
                "apiServerEndpoint": f"{FIRST}:{PORT}",
                "caCertHashes": [authority.pin if authority else ""],
            }
        },
    }
    text = with_secrets(document, Secrets(made["token"], made["certificate_key"]))
    valid = HOST.run(["kubeadm", "config", "validate", "--config", "/dev/stdin"], text, 60)
    ended = material.end(made["token"].split(".")[0])
    return {
        "files": sorted(made["files"]),
        "secrets": len(there),
        "sealed": "kubeadm-certs" in there,
        "logged": made["token"] in log.read_text() or made["certificate_key"] in log.read_text(),
        "valid": valid[0],
        "ended": ended,
        "left": names(),
    }


def members() -> dict[str, Any]:
    """What etcd says of its members while another one is added and taken out."""
    etcd = Etcd(PATHS.pki)
    [own] = etcd.members()
    peers = {"peerURLs": [f"https://{SECOND}:2380"], "isLearner": True}
    etcd._ask("/v3/cluster/member/add", peers)
    [new] = [member for member in etcd.members() if member.id != own.id]
    known = {"name": own.name, "learner": new.learner, "is_of": new.is_of("cp-2", [SECOND])}
    etcd.remove(new)
    seen = cluster_view(PATHS, PORT).etcd
    return {**known, "after": [member.name for member in seen or []]}


def sealed(cluster: ControlPlane) -> dict[str, Any]:
    """Whether a Secret can be read in etcd's files or in the audit log, where its making has to stand."""
    word = secrets.token_hex(16)
    body = {"metadata": {"name": "sealed"}, "stringData": {"word": word}}
    client = local_client(PATHS, PORT, admin=True)
    client.request("/api/v1/namespaces/default/secrets", "POST", body)
    kept = b"".join(path.read_bytes() for path in (cluster.folder / "etcd").rglob("*") if path.is_file())
    log = (cluster.folder / "audit" / "audit.log").read_text()
    return {"in etcd": word.encode() in kept, "in the log": word in log, "noted": '"name":"sealed"' in log}


def certificates(cluster: ControlPlane) -> dict[str, Any]:
    """What becomes of certificates after a power cut, and whether etcd and the API server start with them."""
    whole = ClusterCertificates(HOST, "cp-1", cluster.config)
    told: dict[str, Any] = {"whole": whole.problems()}
    for name in SIGNED:
        path = PATHS.pki / f"{name}.crt"
        path.write_bytes(path.read_bytes()[:100])
    (PATHS.pki / "apiserver.key").unlink()
    (PATHS.kubernetes / "scheduler.conf").write_text("")
    told["damaged"] = len(whole.problems())
    told["repaired"] = len(whole.repair().split("; "))
    cluster.end()
    for name in ("etcd", "kube-apiserver"):
        cluster.start(name)
    cluster.wait_ready()
    return {**told, "left": whole.problems(), "nodes": cluster_view(PATHS, PORT).answers}


def main() -> None:
    """Make it, ask everything of it, end it."""
    cluster = ControlPlane(Path(sys.argv[1]))
    try:
        cluster.make()
        told = {
            "administrator": administrator(cluster),
            "material": join_material(cluster),
            "members": members(),
            "sealed": sealed(cluster),
            "certificates": certificates(cluster),
        }
    finally:
        cluster.end()
    print(json.dumps(told))


if __name__ == "__main__":
    main()
