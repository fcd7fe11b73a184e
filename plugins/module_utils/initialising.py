# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the first control plane of a cluster, or finish what an interrupted run began.

Before kubeadm does anything a record says `begun` and which files were there already; when the API is ready
it says `done`. Between the two, kubeadm is simply run again: each of its phases can be repeated, and nothing
is removed. Only when etcd has never written anything is the unfinished state cleared away first.
"""

from __future__ import annotations

import base64
import json
import secrets
import time
import typing as t
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from . import node_plan as plan
from .admin_access import AdminAccess
from .atomic import write_atomically
from .cluster_certificates import ClusterCertificates
from .kubeadm import Outcome
from .leftovers import clear_control_plane
from .node_run import ClusterError, NodeRun
from .node_state import NodeState, api_health, days_left, kubelet_service, probe

#: What preflight finds in the way when an initialisation is run again on what it has made itself.
OWN_TRACES = (
    *(
        f"FileAvailable--etc-kubernetes-manifests-{name}.yaml"
        for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd")
    ),
    *(f"Port-{port}" for port in (6443, 10259, 10257, 10250, 2379, 2380)),
    "DirAvailable--var-lib-etcd",
)

#: How many seconds a kubelet that runs is given to bring the API server up, before it is started anew.
START_PATIENCE = 30

#: The configuration of encryption at rest, among the files of the API server.
ENCRYPTION = "encryption.yaml"


def encryption_configuration(key: bytes) -> str:
    """Seal Secrets; what was written before that can still be read."""
    sealed = {"name": "key1", "secret": base64.b64encode(key).decode("ascii")}
    document = {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "EncryptionConfiguration",
        "resources": [
            {"resources": ["secrets"], "providers": [{"secretbox": {"keys": [sealed]}}, {"identity": {}}]}
        ],
    }
    return json.dumps(document, indent=2) + "\n"


@dataclass
class InitOptions:
    """What the initialisation is given."""

    host: str
    config: str
    config_path: Path = Path("/etc/kubernetes/kubeadm-config.yaml")
    log: Path = Path("/var/log/kubeadm-init.log")
    port: int = 6443
    timeout: float = 600
    image_timeout: float = 900
    ready_timeout: float = 240
    others: t.Sequence[plan.Other] = ()
    unknown: t.Sequence[str] = ()
    #: what the API server reads beside its certificates, by the name of the file
    files: t.Mapping[str, str] = field(default_factory=dict)
    #: whether a new cluster seals its secrets in etcd
    encryption: bool = False
    #: certificates that end within so many days are warned of
    certificate_days: int = 30


@dataclass
class InitResult:
    """What was done."""

    action: str
    reason: str
    changed: bool
    node: NodeState
    config_before: str = ""
    files_before: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


class Initialiser(NodeRun[InitOptions]):
    """One initialisation on one machine."""

    def run(self, check: bool = False) -> InitResult:
        """Decide and do it; in check mode only say what would be done."""
        node = self.probe()
        decision = plan.plan_init(self.options.host, node, self.options.others, self.options.unknown)
        if decision.action == plan.REFUSE:
            raise ClusterError(decision.reason)
        # One that has joined acts for a cluster that was made elsewhere: there its configuration is.
        made_here = node.joining != "done"
        before = self._current_config() if made_here else self.options.config
        files = {name: self._current_file(name) for name in self.options.files} if made_here else {}
        config_differs = before != self.options.config
        files_differ = [name for name, text in files.items() if text != self.options.files[name]]
        result = InitResult(
            decision.action, decision.reason, bool(config_differs or files_differ), node, before
        )
        result.files_before = files
        if config_differs and node.kubeadm_version:
            self._validate()
        if decision.action in (plan.NOTHING, plan.START):
            result.warnings += self._late(config_differs, files_differ)
        damaged = self._look_at_certificates(decision.action)
        if check:
            result.changed = result.changed or decision.action != plan.NOTHING
            self._tell_certificates(result, "; ".join(damaged.values()))
            if decision.action == plan.NOTHING:
                self._tell_repair(result, self._admin().problem())
            return result
        if config_differs:
            write_atomically(self.options.config_path, self.options.config, 0o600, parents=True)
        for name in files_differ:
            self._write_file(name, self.options.files[name])
        if decision.action not in (plan.NOTHING, plan.START) and self.options.encryption:
            self._make_encryption_key()
        mended = self._certificates().repair() if damaged else ""
        self._tell_certificates(result, mended)
        result.changed = self._act(decision.action, node, bool(mended)) or result.changed
        repaired = self._admin().repair()
        self._tell_repair(result, repaired)
        if decision.action != plan.NOTHING or mended or repaired:
            result.node = self.probe()
        result.warnings += self._ending(result.node)
        return result

    def _late(self, config_differs: bool, files_differ: t.Sequence[str]) -> list[str]:
        """Say what a running cluster does not take up by itself."""
        warnings = []
        if config_differs:
            warnings.append(
                f"{self.options.config_path} on {self.options.host} differs from what was asked for. The "
                "file is written; the running cluster keeps the settings that it was made with."
            )
        if files_differ:
            warnings.append(
                f"{', '.join(files_differ)} in {self.host.paths.api_server} on {self.options.host} differs "
                "from what was asked for. It is written; the API server reads it when it is started the next "
                "time. Other control planes keep theirs."
            )
        return warnings

    def _tell_repair(self, result: InitResult, wrong: str) -> None:
        if wrong:
            result.changed = True
            result.warnings.append(
                f"admin.conf on {self.options.host} was not right, and is made so: {wrong}."
            )

    def _certificates(self) -> ClusterCertificates:
        return ClusterCertificates(self.host, self.options.host, self.options.config)

    def _look_at_certificates(self, action: str) -> dict[str, str]:
        """Find those that are not whole where there is a cluster; raise ClusterError where nothing helps."""
        if action not in (plan.NOTHING, plan.START, plan.RESUME):
            return {}
        certificates = self._certificates()
        certificates.check_authorities()
        return certificates.problems()

    def _tell_certificates(self, result: InitResult, wrong: str) -> None:
        if wrong:
            result.changed = True
            result.warnings.append(f"Certificates on {self.options.host} are made anew: {wrong}.")

    def _admin(self) -> AdminAccess:
        return AdminAccess(self.host, self.options.host, self.options.config, self.options.port)

    def _ending(self, node: NodeState) -> list[str]:
        """Name the certificates that end soon, and what to type."""
        soon = []
        for name, end in node.certificate_ends.items():
            days = days_left(datetime.fromisoformat(end))
            if days < self.options.certificate_days:
                soon.append(f"{name} {'has ended' if days < 0 else f'in {days} days'}")
        if not soon:
            return []
        return [
            f"Certificates on {self.options.host} end soon: {', '.join(soon)}. There: kubeadm certs renew "
            "all, then systemctl restart kubelet."
        ]

    def _current_file(self, name: str) -> str:
        try:
            return (self.host.paths.api_server / name).read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""

    def _write_file(self, name: str, text: str) -> None:
        path = self.host.paths.api_server / name
        write_atomically(path, text, 0o600, parents=True)
        path.parent.chmod(0o700)

    def _make_encryption_key(self) -> None:
        """Make the key that secrets are sealed with in etcd; one that is there is never replaced."""
        if not self._current_file(ENCRYPTION):
            self._write_file(ENCRYPTION, encryption_configuration(secrets.token_bytes(32)))

    def probe(self) -> NodeState:
        """Find out what is true."""
        return probe(self.host.paths, self.host.run, self.options.port)

    def _current_config(self) -> str:
        try:
            return self.options.config_path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""

    def _validate(self) -> None:
        code, out, err = self.host.run(
            ["kubeadm", "config", "validate", "--config", "/dev/stdin"], self.options.config, 60
        )
        if code != 0:
            raise ClusterError(
                f"kubeadm does not accept the configuration for {self.options.host}: "
                f"{Outcome(code, out + err).problem()}. It comes from the variables kubeadm_init_*."
            )

    def _act(self, action: str, node: NodeState, mended: bool = False) -> bool:
        if action == plan.NOTHING:
            return False
        if action == plan.START:
            return self._start(node, mended)
        if action == plan.CLEAN_AND_INITIALISE:
            problems = clear_control_plane(self.host, node.kept)
            if problems:
                raise ClusterError(
                    f"What an interrupted run left on {self.options.host} could not be cleared away: "
                    + "; ".join(problems)
                )
            node = self.probe()
            if node.etcd_data:  # etcd began to write while we looked: then nothing is to be removed
                action = plan.RESUME
        if action != plan.RESUME:
            self._record("begun", node.certificates)
        self._pull_images()
        self._initialise(OWN_TRACES if action == plan.RESUME else ())
        self._wait_ready()
        self._record("done", node.kept if action == plan.RESUME else node.certificates)
        return True

    def _start(self, node: NodeState, mended: bool) -> bool:
        """Start what has stopped; tell whether anything was started."""
        running = node.kubelet.active in ("active", "activating")
        if running and not mended and not self._unready(min(START_PATIENCE, self.options.ready_timeout)):
            return False
        # What has ended again and again is left alone for up to five minutes, unless the kubelet starts anew.
        self.start_kubelet("restart" if running else "start")
        self._wait_ready()
        return True

    def _record(self, state: str, kept: t.Sequence[str]) -> None:
        record = {
            "state": state,
            "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "kept": list(kept),
        }
        write_atomically(self.host.paths.marker, json.dumps(record) + "\n", 0o600, parents=True)

    def _kubeadm(self, words: t.Sequence[str], timeout: float) -> Outcome:
        return self.execute(
            ["kubeadm", *words, "--config", str(self.options.config_path)],
            self.options.log,
            timeout,
            pass_lock=self.lock,
        )

    def _pull_images(self) -> None:
        outcome = self._kubeadm(["config", "images", "pull"], self.options.image_timeout)
        if outcome.code != 0:
            raise ClusterError(
                f"The images of the control plane could not be pulled on {self.options.host}: "
                f"{outcome.problem()}. Set artifacts_image_mirror to a registry that has them, or use a "
                "bundle (artifacts_source)."
            )

    def _initialise(self, ignored: t.Sequence[str]) -> None:
        outcome = self._kubeadm_init(ignored)
        if outcome.code > 0 and self.host.paths.etcd_member.exists():
            # Mostly a machine that is slow: each phase can be repeated, and by now the API server is up.
            outcome = self._kubeadm_init(OWN_TRACES)
        if outcome.code != 0:
            raise ClusterError(
                f"kubeadm init on {self.options.host} failed: {outcome.problem()}. All of its output is in "
                f"{self.options.log} there, the kubelet's in journalctl -u kubelet. The same command again "
                "goes on."
            )

    def _kubeadm_init(self, ignored: t.Sequence[str]) -> Outcome:
        words = ["init", "--skip-token-print", "--skip-certificate-key-print"]
        if ignored:
            words.append("--ignore-preflight-errors=" + ",".join(ignored))
        return self._kubeadm(words, self.options.timeout)

    def _unready(self, seconds: float) -> str:
        """Wait until the API server is ready; when it is not after `seconds`, return what it says."""
        deadline = time.monotonic() + seconds
        while True:
            statuses, problem = api_health(self.host.paths, self.options.port)
            if statuses["readyz"] == 200:
                return ""
            if time.monotonic() > deadline:
                return problem[:300].strip() or "no answer"
            time.sleep(0.5)

    def _wait_ready(self) -> None:
        problem = self._unready(self.options.ready_timeout)
        if problem:
            kubelet = kubelet_service(self.host.run)
            raise ClusterError(
                f"The API server on {self.options.host} is not ready after {self.options.ready_timeout:g} "
                f"seconds ({problem}; kubelet: {kubelet.active}). The cluster's data is not touched. Look at "
                "journalctl -u kubelet and crictl ps -a there; then the same command again."
            )
