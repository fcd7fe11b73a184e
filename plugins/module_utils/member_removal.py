# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Take one node out of a cluster, from a control plane that stays: its pods, its etcd member, its Node.

The node itself need not be there any more. What would cost etcd its majority is refused before anything is
changed.
"""

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass, field

from .etcd import Etcd, EtcdError, EtcdMember
from .kubeconfig import Answer, Client, KubeconfigError, load_kubeconfig
from .leftovers import Host
from .node_state import parse_node

NOT_FOUND = 404
#: Seconds after which it is asked again whether the node that is being drained is still there.
DRAIN_ROUND = 20


class RemovalError(RuntimeError):
    """The node was not, or not wholly, taken out; the message is for a person."""


@dataclass(frozen=True)
class Leaving:
    """Who leaves. `addresses` are for an etcd member that has no name, since it never started."""

    name: str
    addresses: t.Sequence[str] = ()
    drain: bool = True
    drain_timeout: int = 180


@dataclass
class Steps:
    """What is to be done, as far as it is still to be done."""

    node: bool = False
    ready: bool = False
    members: list[EtcdMember] = field(default_factory=list)
    done: list[str] = field(default_factory=list)

    @property
    def needed(self) -> bool:
        """Whether anything is left of it."""
        return self.node or bool(self.members)

    def words(self, leaving: Leaving) -> list[str]:
        """Say what is to be done."""
        told = []
        if self.node and self.ready and leaving.drain:
            told.append(f"pods of {leaving.name} moved")
        told += [f"etcd member {member.describe()} removed" for member in self.members]
        return told + ([f"node {leaving.name} deleted"] if self.node else [])


AskEtcd = t.Callable[[t.Optional[t.Sequence[str]]], Etcd]


class MemberRemoval:
    """The removal of one node, seen from the control plane on which it runs."""

    def __init__(
        self,
        leaving: Leaving,
        host: Host,
        client: Client | None = None,
        etcd: AskEtcd | None = None,
        sleep: t.Callable[[float], None] = time.sleep,
    ) -> None:
        """client, etcd: the API and etcd; by default those of this machine. Raises RemovalError."""
        self.leaving = leaving
        self.host = host
        self.sleep = sleep
        self.kubeconfig = host.paths.kubernetes / "admin.conf"
        try:
            self.client = client or Client(load_kubeconfig(self.kubeconfig), timeout=15)
        except KubeconfigError as error:
            raise RemovalError(f"{self.kubeconfig}: {error}. Run it on a control plane.") from error
        self._etcd = etcd or self._own_etcd

    def _own_etcd(self, servers: t.Sequence[str] | None) -> Etcd:
        pki = self.host.paths.pki
        return Etcd(pki, servers, 4) if servers else Etcd(pki)

    @property
    def stacked(self) -> bool:
        """Whether etcd stands on the control planes; another one is not for us to change."""
        return (self.host.paths.manifests / "etcd.yaml").exists()

    def look(self) -> Steps:
        """Find out what is left of the node, and refuse what would break the cluster."""
        steps = Steps()
        answer = self._node()
        if answer.ok:
            member = parse_node(answer.json() or {})
            steps.node, steps.ready = True, member.ready
        elif answer.status != NOT_FOUND:
            raise RemovalError(
                f"The API does not say whether it has a node {self.leaving.name}: "
                f"{answer.status or 'no answer'} "
                f"{answer.body[:200]}. Nothing was changed."
            )
        if self.stacked:
            steps.members = self._members_that_go()
        return steps

    def _node(self) -> Answer:
        return self.client.request(f"/api/v1/nodes/{self.leaving.name}")

    def _members_that_go(self) -> list[EtcdMember]:
        try:
            members = self._etcd(None).members()
        except EtcdError as error:
            raise RemovalError(
                f"etcd does not answer, so it may have lost its majority: {error}. Nothing was changed. "
                f"Switch on as "
                "many control planes as it takes to have more than half of them. If they are gone for "
                "good, only a "
                "backup of etcd brings the cluster back."
            ) from error
        leaving = [member for member in members if member.is_of(self.leaving.name, self.leaving.addresses)]
        staying = [member for member in members if member not in leaving]
        if leaving and not staying:
            raise RemovalError(
                f"{self.leaving.name} is the last control plane: without it there is no cluster. If that "
                f"is wanted: "
                "ansible-playbook playbooks/reset.yml -e cluster_reset_confirm=true"
            )
        voters = [member for member in staying if not member.learner]
        silent = [member for member in voters if not self._answers(member)] if leaving else []
        if leaving and len(voters) - len(silent) <= len(voters) // 2:
            names = ", ".join(member.describe() for member in silent)
            raise RemovalError(
                f"Without {self.leaving.name} etcd would have {len(voters) - len(silent)} of {len(voters)} "
                f"members and "
                f"no majority: {names} does not answer. Nothing was changed. Switch that one on, or remove "
                f"it first."
            )
        return leaving

    def _answers(self, member: EtcdMember) -> bool:
        try:
            self._etcd(member.clients or ["https://127.0.0.1:0"]).members()
        except EtcdError:
            return False
        return True

    def run(self, check: bool = False) -> Steps:
        """Take it out; raises RemovalError."""
        steps = self.look()
        steps.done = steps.words(self.leaving)
        if check or not steps.needed:
            return steps
        if steps.node:
            steps.ready = self._empty(steps.ready)
            steps.done = steps.words(self.leaving)
        for member in steps.members:
            self._remove(member)
        if steps.node:
            self._delete()
        left = self.look()
        if left.needed:
            raise RemovalError(
                f"Still there: {', '.join(left.words(self.leaving))} was not done. Run it again."
            )
        return steps

    def _empty(self, ready: bool) -> bool:
        """No new pods for it; those that it runs go elsewhere. A node that is down can end none.

        Returns whether it was up to the end.
        """
        path, name = f"/api/v1/nodes/{self.leaving.name}", self.leaving.name
        body = {"spec": {"unschedulable": True}}
        answer = self.client.request(path, "PATCH", body, "application/merge-patch+json")
        if not answer.ok:
            raise RemovalError(f"Node {name} could not be cordoned: {answer.status} {answer.body[:200]}")
        return self._drain() if ready and self.leaving.drain else ready

    def _drain(self) -> bool:
        """Let its pods go elsewhere; returns whether it was up to the end.

        In rounds, since the API learns only after most of a minute that a node is down: then none of its pods
        ends any more, and they go with the node.
        """
        name, limit = self.leaving.name, self.leaving.drain_timeout
        deadline = time.monotonic() + limit
        while True:
            seconds = min(DRAIN_ROUND, max(1, round(deadline - time.monotonic())))
            options = ["--ignore-daemonsets", "--delete-emptydir-data", "--force", f"--timeout={seconds}s"]
            kubectl = ["kubectl", f"--kubeconfig={self.kubeconfig}", "drain", name, *options]
            code, out, err = self.host.run(kubectl, None, seconds + 30)
            if code == 0:
                return True
            node = self._node()
            if node.ok and not parse_node(node.json() or {}).ready:
                return False
            if time.monotonic() >= deadline:
                raise RemovalError(
                    f"The pods of {name} could not be moved within {limit} seconds: "
                    f"{(err or out).strip()[-600:]}. It takes no new pods, and is otherwise as it was. Mend "
                    "that (a PodDisruptionBudget that cannot be kept?) and run it again; or let them go with "
                    f"it: -e remove_node_drain=false. To have it back: kubectl uncordon {name}"
                )
            self.sleep(1)

    def _remove(self, member: EtcdMember, patience: float = 30) -> None:
        # etcd refuses a change while it has not heard long enough from all of its members.
        deadline = time.monotonic() + patience
        while True:
            try:
                self._etcd(None).remove(member)
            except EtcdError as error:
                if time.monotonic() >= deadline:
                    raise RemovalError(f"etcd keeps its member {member.describe()}: {error}") from error
                self.sleep(1)
            else:
                return

    def _delete(self, patience: float = 30) -> None:
        path = f"/api/v1/nodes/{self.leaving.name}"
        deadline = time.monotonic() + patience
        while True:
            # The way to the API may lead over the etcd that has just lost a member: it elects anew.
            answer = self.client.request(path, "DELETE")
            if answer.status == NOT_FOUND or (answer.ok and self._node().status == NOT_FOUND):
                return
            if time.monotonic() >= deadline:
                raise RemovalError(
                    f"Node {self.leaving.name} could not be deleted: {answer.status or 'no answer'} "
                    f"{answer.body[:200]}"
                )
            self.sleep(1)
