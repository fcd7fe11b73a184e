# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a machine a worker or a further control plane of the cluster, or finish a join that was interrupted.

Whether it is one is decided from its own files and from what the API says together. The join configuration,
which holds the token and the certificate key, is given to kubeadm in memory and is never on the disk.

Before a control plane joins, a record says `begun`; when it has a vote in etcd and its API is ready it says
`done`. What a join that ended between the two has left is only cleared away as long as it has no vote.
"""

from __future__ import annotations

import json
import os
import time
import typing as t
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from . import node_plan as plan
from .atomic import write_atomically
from .etcd import Etcd, EtcdError, EtcdMember
from .kubeadm import Outcome, config_in_memory, redact
from .kubeconfig import Client, KubeconfigError, load_kubeconfig
from .leftovers import Leftover, clear_control_plane, clear_worker, remove_all
from .node_run import ClusterError, NodeRun
from .node_state import (
    NodeState,
    api_health,
    ask_membership,
    kubelet_service,
    local_client,
    probe,
)

CRI_SOCKET_ANNOTATION = "kubeadm.alpha.kubernetes.io/cri-socket"
ROLE_LABELS = {
    "node-role.kubernetes.io/control-plane": "",
    "node.kubernetes.io/exclude-from-external-load-balancers": "",
}
ROLE_TAINT = {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}

#: The longest pause between two attempts.
LONGEST_PAUSE = 60.0


@dataclass
class Material:
    """What a join takes that is secret: made for it by a control plane, and ended afterwards."""

    token: str
    #: for a control plane: the key that its certificates are sealed with
    certificate_key: str = ""
    #: for a control plane: what its API server reads, by the name of the file
    files: t.Mapping[str, str] = field(default_factory=dict)


@dataclass
class JoinOptions:
    """What the join is given. Without `configuration` and `material` only what needs no token is done."""

    host: str
    node_name: str
    cluster: t.Mapping[str, t.Any]
    configuration: t.Mapping[str, t.Any] | None = None
    material: Material = field(default_factory=lambda: Material(""))
    control_plane: bool = False
    #: addresses of this machine, by which its member of etcd is known
    addresses: t.Sequence[str] = ()
    port: int = 6443
    schedulable: bool = False
    log: Path = Path("/var/log/kubeadm-join.log")
    failure_log: Path = Path("/var/log/kubeadm-join-failure.log")
    timeout: float = 240
    ready_timeout: float = 60
    attempts: int = 1
    backoff: float = 5

    @property
    def members(self) -> list[EtcdMember] | None:
        """The members of the cluster's etcd; None when it stands elsewhere."""
        found = self.cluster.get("etcd")
        return None if found is None else [EtcdMember(**member) for member in found]


@dataclass
class JoinResult:
    """What was done; `needs_token`: it has to join and was given no token."""

    action: str
    reason: str
    changed: bool
    node: NodeState
    needs_token: bool = False
    #: when it joined in this run
    joined_at: datetime | None = None


def with_secrets(configuration: t.Mapping[str, t.Any], material: Material) -> str:
    """Return the join configuration with token and certificate key in it, as JSON (which is YAML)."""
    discovery = dict(configuration.get("discovery") or {})
    discovery["bootstrapToken"] = {**(discovery.get("bootstrapToken") or {}), "token": material.token}
    discovery["tlsBootstrapToken"] = material.token
    document = {**configuration, "discovery": discovery}
    if material.certificate_key:
        document["controlPlane"] = {
            **(configuration.get("controlPlane") or {}),
            "certificateKey": material.certificate_key,
        }
    return json.dumps(document)


def join_record(options: JoinOptions, token_expires: str, joined_at: datetime) -> dict[str, str]:
    """Return what may be kept of a join: nothing secret, since a token's first part is its public name."""
    discovery = (options.configuration or {}).get("discovery") or {}
    return {
        "node": options.node_name,
        "role": "control-plane" if options.control_plane else "worker",
        "endpoint": (discovery.get("bootstrapToken") or {}).get("apiServerEndpoint", ""),
        "ca_pin": options.cluster["ca_pin"],
        "token_id": options.material.token.partition(".")[0],
        "token_expires": token_expires,
        "joined_at": joined_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


class Joiner(NodeRun[JoinOptions]):
    """One join of one machine."""

    def run(self, check: bool = False) -> JoinResult:
        """Decide and do it; in check mode only say what would be done."""
        node = self.probe()
        decision = self._decide(node)
        if decision.action == plan.REFUSE:
            raise ClusterError(decision.reason)
        result = JoinResult(decision.action, decision.reason, decision.action != plan.NOTHING, node)
        if check or decision.action == plan.NOTHING:
            return result
        if decision.action == plan.START and self.options.control_plane:
            result.changed = self._start_control_plane(node)
        elif decision.action == plan.START and not self._start(node):
            decision = plan.Decision(
                plan.CLEAN_AND_JOIN,
                "it had joined, but the API does not know it and its kubelet does not register",
            )
            result.action, result.reason = decision.action, decision.reason
        elif decision.action == plan.FINISH:
            self._finish()
        if decision.action in (plan.JOIN, plan.CLEAN_AND_JOIN):
            if self.options.configuration is None:
                result.needs_token, result.changed = True, False
                return result
            if decision.action == plan.CLEAN_AND_JOIN:
                self._clear()
            self._join()
            result.joined_at = datetime.now(timezone.utc)
        result.node = self.probe()
        if self.options.control_plane:
            self._verify_member(result.node)
            if decision.action in (plan.JOIN, plan.CLEAN_AND_JOIN) or node.joining == "begun":
                self._record("done")
        return result

    def probe(self) -> NodeState:
        """Find out what is true."""
        return probe(self.host.paths, self.host.run, self.options.port, view=self.options.control_plane)

    def _decide(self, node: NodeState) -> plan.Decision:
        given = self.options
        if not given.control_plane:
            return plan.plan_join(given.host, given.node_name, node, given.cluster)
        cluster = {**given.cluster, "etcd": given.members}
        return plan.plan_join_control_plane(given.host, given.node_name, node, cluster, given.addresses)

    def _record(self, state: str) -> None:
        record = {"state": state, "time": datetime.now(timezone.utc).isoformat(timespec="seconds")}
        write_atomically(self.host.paths.join_marker, json.dumps(record) + "\n", 0o600, parents=True)

    def _start(self, node: NodeState) -> bool:
        """Start the kubelet and tell whether the API knows the node then."""
        known = node.name in {str(member.get("name")) for member in self.options.cluster.get("nodes", [])}
        # A kubelet registers its node only when it starts.
        self.start_kubelet("start" if known else "restart")
        member = self._wait(
            lambda: ask_membership(self.host.paths.kubernetes / "kubelet.conf", node.name)[0] is True,
            self.options.ready_timeout,
        )
        if member:
            self._wait_healthy()
        return member

    def _start_control_plane(self, node: NodeState) -> bool:
        """Start what has stopped, wait for what is slow; tell whether anything was started."""
        known = node.name in {str(member.get("name")) for member in self.options.cluster.get("nodes", [])}
        stopped = node.kubelet.active != "active"
        if stopped or not known:  # a kubelet registers its node only when it starts
            self.start_kubelet("start" if stopped else "restart")
        self._wait_healthy()
        path = self.host.paths.kubernetes / "kubelet.conf"
        if not self._wait(lambda: ask_membership(path, node.name)[0] is True, self.options.ready_timeout):
            raise ClusterError(
                f"The API does not know the node of {self.options.host}, and its kubelet does not register "
                "it. See journalctl -u kubelet there."
            )
        return self._mark() or stopped or not known

    def _finish(self) -> None:
        """Do what kubeadm does last: note the runtime's socket, drop the bootstrap credentials."""
        kubernetes = self.host.paths.kubernetes
        if self.options.control_plane:
            self._mark()
        if not (self.host.paths.kubelet / "instance-config.yaml").exists():
            body = {"metadata": {"annotations": {CRI_SOCKET_ANNOTATION: self.host.cri_socket}}}
            try:
                answer = Client(load_kubeconfig(kubernetes / "kubelet.conf")).request(
                    f"/api/v1/nodes/{self.options.node_name}", "PATCH", body, "application/merge-patch+json"
                )
            except KubeconfigError as error:
                raise ClusterError(
                    f"{kubernetes / 'kubelet.conf'} on {self.options.host}: {error}"
                ) from error
            if not answer.ok:
                raise ClusterError(
                    f"{self.options.host} could not finish its join: the API said {answer.status} "
                    f"{answer.body[:300]}"
                )
        (kubernetes / "bootstrap-kubelet.conf").unlink(missing_ok=True)

    def _mark(self) -> bool:
        """Give the node the labels and the taint of a control plane, if it never got them; tell whether."""
        path = f"/api/v1/nodes/{self.options.node_name}"
        try:
            client = local_client(self.host.paths, self.options.port, admin=True)
        except KubeconfigError as error:
            raise ClusterError(f"admin.conf on {self.options.host}: {error}") from error
        node = client.request(path).json() or {}
        # Both come together, so with the label a missing taint is somebody's wish.
        if set(ROLE_LABELS) & set((node.get("metadata") or {}).get("labels") or {}):
            return False
        taints = (node.get("spec") or {}).get("taints") or []
        wanted = [] if self.options.schedulable else [ROLE_TAINT]
        body = {"metadata": {"labels": ROLE_LABELS}, "spec": {"taints": [*taints, *wanted]}}
        answer = client.request(path, "PATCH", body, "application/merge-patch+json")
        if not answer.ok:
            raise ClusterError(
                f"{self.options.host} could not be marked as a control plane: the API said {answer.status} "
                f"{answer.body[:300]}"
            )
        return True

    def _clear(self) -> None:
        problems = self._clear_control_plane() if self.options.control_plane else clear_worker(self.host)
        if problems:
            raise ClusterError(
                f"What an interrupted join left on {self.options.host} could not be cleared away: "
                + "; ".join(problems)
            )

    def _clear_control_plane(self) -> list[str]:
        """Take this machine's member out of etcd, as long as it has no vote, and then all that it has."""
        members = self.options.members
        if members is not None and self.host.paths.pki.joinpath("apiserver-etcd-client.key").exists():
            try:
                self._leave_etcd(members)
            except EtcdError as error:
                return [f"its member of etcd could not be asked for: {error}"]
        problems = clear_control_plane(self.host, ())
        data = self.host.paths.etcd_member
        return problems or remove_all(self.host, [Leftover("path", str(data))] if data.exists() else [])

    def _leave_etcd(self, members: t.Sequence[EtcdMember]) -> None:
        given = self.options
        others = [member for member in members if not member.is_of(given.node_name, given.addresses)]
        etcd = Etcd(self.host.paths.pki, [url for member in others for url in member.clients])
        own = plan.own_member(given.node_name, given.addresses, etcd.members())
        if own is None:
            return
        if own.name and not own.learner:
            raise ClusterError(
                f"{given.host} has a vote in etcd ({own.describe()}), so what is on it is not removed. "
                "See journalctl -u kubelet there; if it is to be made anew: "
                f"{plan.how_to_remove(given.node_name)}"
            )
        etcd.remove(own)

    def _join(self) -> None:
        self._validate()
        patience = time.monotonic() + self.options.timeout
        failures = 0
        while True:
            self._before_attempt()
            outcome = self._kubeadm_join(self.options.timeout)
            if outcome.code == 0:
                break
            self._keep_diagnosis(outcome)
            # A machine that was reinstalled: its old Node is Ready until the API has missed it for a while.
            same_name = "already exists in the cluster" in outcome.output
            failures += not same_name
            pause = 5.0 if same_name else min(self.options.backoff * 2 ** (failures - 1), LONGEST_PAUSE)
            again = time.monotonic() + 10 < patience if same_name else failures < self.options.attempts
            if not again:
                raise ClusterError(self._explain(outcome, same_name))
            self._clear()  # kubeadm leaves the first files that it has written
            time.sleep(pause)
        if not self._wait((self.host.paths.kubernetes / "kubelet.conf").exists, 120):
            raise ClusterError(
                f"kubeadm join ended well on {self.options.host}, but there is no kubelet.conf."
            )
        self._wait_healthy()

    def _validate(self) -> None:
        text = with_secrets(self.options.configuration or {}, self.options.material)
        code, out, err = self.host.run(["kubeadm", "config", "validate", "--config", "/dev/stdin"], text, 60)
        if code != 0:
            raise ClusterError(
                f"kubeadm does not accept the configuration of {self.options.host}'s join: "
                f"{redact(Outcome(code, out + err).problem())}. It comes from the variables kubeadm_join_*."
            )

    def _before_attempt(self) -> None:
        if not self.options.control_plane:
            return
        self._record("begun")
        for name, text in self.options.material.files.items():
            write_atomically(self.host.paths.api_server / name, text, 0o600, parents=True)

    def _verify_member(self, node: NodeState) -> None:
        """See that etcd has this machine among those that vote."""
        given = self.options
        if node.cluster.etcd_problem:
            raise ClusterError(
                f"etcd on {given.host} cannot be asked for its members: {node.cluster.etcd_problem}"
            )
        own = plan.own_member(given.node_name, given.addresses, node.cluster.etcd)
        if node.cluster.etcd is not None and (own is None or own.learner):
            found = ", ".join(member.describe() for member in node.cluster.etcd)
            raise ClusterError(
                f"{given.host} has joined, but has no vote in etcd. Its members are: {found}. The same "
                "command again goes on."
            )

    def _kubeadm_join(self, timeout: float) -> Outcome:
        handle = config_in_memory(with_secrets(self.options.configuration or {}, self.options.material))
        try:
            return self.execute(
                ["kubeadm", "join", "--config", f"/proc/self/fd/{handle}"],
                self.options.log,
                timeout,
                [handle],
                pass_lock=self.lock,
            )
        finally:
            os.close(handle)

    def _explain(self, outcome: Outcome, same_name: bool) -> str:
        if same_name:
            return (
                f"Another machine answers as node {self.options.node_name}: the API says that it is Ready, "
                f"and {self.options.host} is not it. Give one of them another name."
            )
        return (
            f"kubeadm join on {self.options.host} failed: {outcome.problem()}. There: {self.options.log} has "
            f"all of its output, {self.options.failure_log} the kubelet's as well. The same command again "
            "tries again."
        )

    def _wait_healthy(self) -> None:
        if not self._wait(lambda: kubelet_service(self.host.run).healthy, self.options.ready_timeout):
            raise ClusterError(
                f"The kubelet on {self.options.host} is not healthy after {self.options.ready_timeout:g} "
                "seconds. See journalctl -u kubelet there."
            )
        if self.options.control_plane and not self._wait(self._api_ready, self.options.ready_timeout):
            problem = api_health(self.host.paths, self.options.port)[1][:300].strip() or "no answer"
            raise ClusterError(
                f"The API server on {self.options.host} is not ready after {self.options.ready_timeout:g} "
                f"seconds ({problem}). See crictl ps -a and journalctl -u kubelet there; then the same "
                "command again."
            )

    def _api_ready(self) -> bool:
        return api_health(self.host.paths, self.options.port)[0]["readyz"] == 200

    @staticmethod
    def _wait(condition: t.Callable[[], bool], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.5)
        return True

    def _keep_diagnosis(self, outcome: Outcome) -> None:
        """Write what helps to find the cause, without tokens, for root only."""
        parts = [datetime.now(timezone.utc).isoformat(timespec="seconds"), outcome.output[-20000:]]
        for argv in (
            ["systemctl", "status", "kubelet.service", "--no-pager", "--full"],
            ["journalctl", "--unit", "kubelet.service", "--lines", "60", "--no-pager"],
        ):
            _code, out, err = self.host.run(argv, None, 20)
            parts += [f"--- {' '.join(argv)}", out or err]
        write_atomically(self.options.failure_log, redact("\n".join(parts)) + "\n", 0o600, parents=True)
