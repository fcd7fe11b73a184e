# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask the etcd that stands on the control planes who its members are, and take one out.

etcd speaks JSON over HTTPS beside gRPC (its gateway, on by default), so no etcdctl is needed on a machine.
The API server's own client certificate, which every control plane has, opens it.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from .kubeconfig import Client, Kubeconfig, KubeconfigError

LOCAL = "https://127.0.0.1:2379"


class EtcdError(RuntimeError):
    """etcd could not be asked, or said no."""


@dataclass(frozen=True)
class EtcdMember:
    """A member. One that was added and has never started has no name yet."""

    id: str
    name: str
    peers: list[str] = field(default_factory=list)
    clients: list[str] = field(default_factory=list)
    #: it copies the data and has no vote yet
    learner: bool = False

    def is_of(self, node: str, addresses: t.Container[str] = ()) -> bool:
        """Whether it is the member of a node: by its name, or without one by its address."""
        if self.name:
            return self.name == node
        return any(urlsplit(peer).hostname in addresses for peer in self.peers)

    def describe(self) -> str:
        """Say which one it is."""
        state = ", has no vote" if self.learner else "" if self.name else ", never started"
        return f"{self.name or ', '.join(self.peers)} ({self.id}{state})"


def parse_members(answer: t.Any) -> list[EtcdMember]:
    """Read the answer to a member list. Numbers are text in it."""
    return [
        EtcdMember(
            id=f"{int(item['ID']):x}",
            name=str(item.get("name", "")),
            peers=[str(url) for url in item.get("peerURLs", [])],
            clients=[str(url) for url in item.get("clientURLs", [])],
            learner=bool(item.get("isLearner")),
        )
        for item in (answer or {}).get("members", [])
    ]


class Etcd:
    """The etcd of a cluster, asked at the first of its addresses that answers."""

    def __init__(self, pki: Path, servers: t.Sequence[str] = (LOCAL,), timeout: float = 5) -> None:
        """pki: the folder of the cluster's certificates, /etc/kubernetes/pki."""
        self.servers = list(servers)
        self.timeout = timeout
        try:
            self.authority = (pki / "etcd/ca.crt").read_bytes()
            self.certificate = (pki / "apiserver-etcd-client.crt").read_bytes()
            self.key = (pki / "apiserver-etcd-client.key").read_bytes()
        except OSError as error:
            raise EtcdError(f"without {error.filename} etcd cannot be asked: {error.strerror}") from error

    def members(self) -> list[EtcdMember]:
        """Return all members. An answer means that most of them are there: it is read through their vote."""
        return parse_members(self._ask("/v3/cluster/member/list", {"linearizable": True}))

    def remove(self, member: EtcdMember) -> None:
        """Take a member out for good; what is in its folder can join no more."""
        self._ask("/v3/cluster/member/remove", {"ID": str(int(member.id, 16))})

    def _ask(self, path: str, body: t.Mapping[str, t.Any]) -> t.Any:
        problems = []
        for server in self.servers:
            try:
                client = Client(Kubeconfig(server, self.authority, self.certificate, self.key), self.timeout)
            except KubeconfigError as error:
                raise EtcdError(str(error)) from error
            answer = client.request(path, "POST", body)
            if answer.ok:
                return answer.json()
            problems.append(f"{server}: {answer.status or 'no answer'} {answer.body[:200].strip()}")
        raise EtcdError("; ".join(problems) or "no address of etcd is known")
