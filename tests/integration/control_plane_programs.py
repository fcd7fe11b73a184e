# SPDX-License-Identifier: GPL-3.0-or-later
"""The bundle's etcd, API server and kubeadm as programs, for tests that run them without a node."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import yaml

from bundle import catalogue, places

CHECKOUT = Path(__file__).resolve().parents[2]
DEFAULTS = CHECKOUT / "roles" / "kubeadm_init" / "defaults" / "main.yml"


def lack() -> str:
    """What is missing for this file."""
    if os.geteuid() != 0:
        return "namespaces of its own need root"
    if not (places.bundle_dir() / places.MANIFEST).exists():
        return f"there is no bundle in {places.bundle_dir()}: ./deploy.sh bundle --from modules"
    return ""


def blob(digest: str) -> Path:
    """A file of the bundle's images."""
    return places.bundle_dir() / "images" / "blobs" / "sha256" / digest.split(":")[1]


def take_program(image: str, program: str, folder: Path) -> None:
    """Take one program out of an image."""
    index = json.loads((places.bundle_dir() / "images" / "index.json").read_text())
    name = "org.opencontainers.image.ref.name"
    [found] = [one for one in index["manifests"] if one["annotations"][name] == image]
    manifest = json.loads(blob(found["digest"]).read_text())
    while "layers" not in manifest:
        manifest = json.loads(blob(manifest["manifests"][0]["digest"]).read_text())
    for layer in manifest["layers"]:
        with tarfile.open(blob(layer["digest"])) as archive:
            for entry in archive:
                content = archive.extractfile(entry) if Path(entry.name).name == program else None
                if content:
                    (folder / program).write_bytes(content.read())
                    (folder / program).chmod(0o755)


def configuration(version: str) -> list[dict[str, Any]]:
    """The configuration of a cluster with audit log and sealed Secrets."""
    folder = "/etc/kubernetes/api-server"
    arguments = {
        "audit-policy-file": f"{folder}/audit-policy.yaml",
        "audit-log-path": "/var/log/kubernetes/audit/audit.log",
        "encryption-provider-config": f"{folder}/encryption.yaml",
    }
    return [
        {
            "apiVersion": "kubeadm.k8s.io/v1beta4",
            "kind": "InitConfiguration",
            "localAPIEndpoint": {"advertiseAddress": "10.0.0.11", "bindPort": 6443},
            "nodeRegistration": {"name": "cp-1", "criSocket": "unix:///run/none.sock"},
        },
        {
            "apiVersion": "kubeadm.k8s.io/v1beta4",
            "kind": "ClusterConfiguration",
            "kubernetesVersion": f"v{version}",
            "controlPlaneEndpoint": "10.0.0.11:6443",
            "apiServer": {"extraArgs": [{"name": name, "value": value} for name, value in arguments.items()]},
        },
    ]


def run(program: str, folder: Path) -> Any:
    """Have a program of these tests work with a control plane in namespaces of its own; return its words."""
    known = catalogue.load()
    minor = known.default_minor
    versions = known.versions(minor)
    [package] = (places.bundle_dir() / "apt" / f"v{minor}").glob("*/kubeadm_*.deb")
    subprocess.run(["dpkg-deb", "--extract", str(package), str(folder)], check=True)
    programs = folder / "usr" / "bin"
    take_program(f"registry.k8s.io/kube-apiserver:v{versions.kubernetes}", "kube-apiserver", programs)
    take_program(f"registry.k8s.io/etcd:{versions.etcd_image_tag}", "etcd", programs)
    defaults = yaml.safe_load(DEFAULTS.read_text())
    (folder / "audit-policy.yaml").write_text(yaml.safe_dump(defaults["kubeadm_init_audit_policy"]))
    (folder / "kubeadm.yaml").write_text(yaml.safe_dump_all(configuration(versions.kubernetes)))
    namespaces = ["unshare", "--mount", "--net", "--propagation", "private"]
    done = subprocess.run(
        [*namespaces, sys.executable, "-m", program, str(folder)],
        cwd=CHECKOUT, text=True, capture_output=True, timeout=600, check=False,
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])
