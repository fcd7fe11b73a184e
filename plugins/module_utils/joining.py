# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a machine a worker of the cluster, or finish a join that was interrupted.

Whether it is one is decided from its own files and from what the API says together. The join configuration,
which holds the token, is given to kubeadm in memory and is never on the disk.
"""

from __future__ import annotations

import json
import os
import time
import typing as t
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from . import node_plan as plan
from .atomic import write_atomically
from .kubeadm import Outcome, config_in_memory, redact
from .kubeconfig import Client, KubeconfigError, load_kubeconfig
from .leftovers import clear_worker
from .node_run import ClusterError, NodeRun
from .node_state import NodeState, ask_membership, kubelet_service, probe

CRI_SOCKET_ANNOTATION = "kubeadm.alpha.kubernetes.io/cri-socket"


@dataclass
class JoinOptions:
    """What the join is given. Without `configuration` only what needs no token is done."""

    host: str
    node_name: str
    cluster: t.Mapping[str, t.Any]
    configuration: t.Mapping[str, t.Any] | None = None
    token: str = ""
    log: Path = Path("/var/log/kubeadm-join.log")
    failure_log: Path = Path("/var/log/kubeadm-join-failure.log")
    timeout: float = 240
    ready_timeout: float = 60


@dataclass
class JoinResult:
    """What was done; `needs_token`: it has to join and was given no token."""

    action: str
    reason: str
    changed: bool
    node: NodeState
    needs_token: bool = False


def with_token(configuration: t.Mapping[str, t.Any], token: str) -> str:
    """Return the join configuration with the token in it, as JSON (which is YAML)."""
    discovery = dict(configuration.get("discovery") or {})
    discovery["bootstrapToken"] = {**(discovery.get("bootstrapToken") or {}), "token": token}
    discovery["tlsBootstrapToken"] = token
    return json.dumps({**configuration, "discovery": discovery})


class Joiner(NodeRun[JoinOptions]):
    """One join of one machine."""

    def run(self, check: bool = False) -> JoinResult:
        """Decide and do it; in check mode only say what would be done."""
        node = self.probe()
        decision = plan.plan_join(self.options.host, self.options.node_name, node, self.options.cluster)
        if decision.action == plan.REFUSE:
            raise ClusterError(decision.reason)
        result = JoinResult(decision.action, decision.reason, decision.action != plan.NOTHING, node)
        if check or decision.action == plan.NOTHING:
            return result
        if decision.action == plan.START and not self._start(node):
            result.action = decision.action
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
        result.node = self.probe()
        return result

    def probe(self) -> NodeState:
        """Find out what is true."""
        return probe(self.host.paths, self.host.run, view=False)

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

    def _finish(self) -> None:
        """Do what kubeadm does last: note the runtime's socket, drop the bootstrap credentials."""
        kubernetes = self.host.paths.kubernetes
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

    def _clear(self) -> None:
        problems = clear_worker(self.host)
        if problems:
            raise ClusterError(
                f"What an interrupted join left on {self.options.host} could not be cleared away: "
                + "; ".join(problems)
            )

    def _join(self) -> None:
        deadline = time.monotonic() + self.options.timeout
        while True:
            outcome = self._kubeadm_join(max(10.0, deadline - time.monotonic()))
            if outcome.code == 0:
                break
            # A machine that was reinstalled: its old Node is Ready until the API has missed it for a while.
            same_name = "already exists in the cluster" in outcome.output
            if not same_name or time.monotonic() + 10 > deadline:
                self._keep_diagnosis(outcome)
                raise ClusterError(self._explain(outcome, same_name))
            self._clear()  # kubeadm leaves the first files that it has written
            time.sleep(5)
        if not self._wait((self.host.paths.kubernetes / "kubelet.conf").exists, 120):
            raise ClusterError(
                f"kubeadm join ended well on {self.options.host}, but there is no kubelet.conf."
            )
        self._wait_healthy()

    def _kubeadm_join(self, timeout: float) -> Outcome:
        handle = config_in_memory(with_token(self.options.configuration or {}, self.options.token))
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
