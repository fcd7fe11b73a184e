# SPDX-License-Identifier: GPL-3.0-or-later
"""A node made of files in a folder, with real certificates, and programs that answer as they are told."""

from __future__ import annotations

import base64
import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kubestead.model.leftovers import Host
from kubestead.model.node_state import Paths


def make_certificate(name: str, organisation: str = "", days: int = 365) -> tuple[bytes, bytes]:
    """A self-signed certificate and its key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
    if organisation:
        attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation))
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
    subject = x509.Name(attributes)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1000)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return built.public_bytes(serialization.Encoding.PEM), secret


def kubeconfig(server: str, authority: bytes, certificate: bytes, key: bytes) -> str:
    """A kubeconfig of the form that kubeadm writes."""
    return (
        "apiVersion: v1\nclusters:\n- cluster:\n"
        f"    certificate-authority-data: {base64.b64encode(authority).decode()}\n"
        f"    server: {server}\n  name: kubernetes\nkind: Config\nusers:\n- name: u\n  user:\n"
        f"    client-certificate-data: {base64.b64encode(certificate).decode()}\n"
        f"    client-key-data: {base64.b64encode(key).decode()}\n"
    )


Answer = tuple[int, str, str]


@dataclass
class Programs:
    """Programs by the beginning of their command line; all others are not there."""

    answers: dict[str, Answer | Callable[[str], Answer]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    inputs: list[str | None] = field(default_factory=list)

    def __call__(self, argv: Sequence[str], stdin: str | None = None, timeout: float = 30) -> Answer:
        line = " ".join(argv)
        self.calls.append(line)
        self.inputs.append(stdin)
        for begin, answer in self.answers.items():
            if line.startswith(begin):
                return answer if isinstance(answer, tuple) else answer(line)
        return 127, "", f"{argv[0]}: not found"


class SampleHost(Host):
    """A machine whose links and mounts are given."""

    link_names: Sequence[str] = ("lo", "eth0")

    def links(self) -> list[str]:
        return list(self.link_names)


def sample_host(root: Path, programs: Programs, mounts: Sequence[str] = ("/",)) -> SampleHost:
    """A machine in `root`."""
    info = "".join(f"1 1 0:1 / {point} rw - ext4 /dev/vda rw\n" for point in mounts)
    put(root, "proc/self/mountinfo", info)
    return SampleHost(paths=Paths(root), run=programs)


def put(root: Path, name: str, text: str | bytes = "x") -> Path:
    """A file below `root`."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def put_control_plane(root: Path, authority: bytes, key: bytes, data: bool = True) -> None:
    """All files of a control plane."""
    for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd"):
        put(root, f"etc/kubernetes/manifests/{name}.yaml")
    config = kubeconfig(
        "https://10.77.0.11:6443", authority, *make_certificate("system:node:cp-1", "system:nodes")
    )
    for name in ("admin.conf", "super-admin.conf", "kubelet.conf"):
        put(root, f"etc/kubernetes/{name}", config)
    for name, text in (("ca.crt", authority), ("ca.key", key), ("apiserver.crt", authority)):
        put(root, f"etc/kubernetes/pki/{name}", text)
    if data:
        put(root, "var/lib/etcd/member/snap/db")
