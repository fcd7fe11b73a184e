# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prove that a cluster carries work: a deployment is created, scaled, reached from every node, deleted.

A pod on each node asks every pod of the deployment by its address, their service by its address, and the
cluster's DNS for the service's name, and says in its last words what it could not reach. That is pod to pod
across nodes, pod to service, and DNS.
"""

from __future__ import annotations

import contextlib
import time
import typing as t
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException

from .kubeconfig import Answer

NAMESPACE = "kubestead-check"
NAME = "web"
PORT = 8080

#: What a probing pod runs: $1 the service's address, $2 its name, then the pods' addresses. By nc, since the
#: wget of a busybox that is linked statically, as Debian's, does not survive looking up even an address.
PROBE = f"""\
service=$1 name=$2; shift 2
try() {{ for turn in 1 2 3 4 5; do "$@" && return 0; sleep 1; done; return 1; }}
get() {{ printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 4 "$1" "$2" | grep -q '^HTTP/1.[01] 200'; }}
resolve() {{ nslookup "$1" 2>/dev/null | grep -qwF "$2"; }}
lost=
for pod in "$@"; do try get "$pod" {PORT} || lost="$lost; pod $pod"; done
try get "$service" 80 || lost="$lost; service $service"
try resolve "$name" "$service" || lost="$lost; name $name"
[ -z "$lost" ] || {{ printf %s "${{lost#; }}" > /dev/termination-log; exit 1; }}
"""


def http_get(host: str, port: int) -> str:
    """Fetch the page at the root of a web server, straight; raises OSError."""
    connection = HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", "/")
        reply = connection.getresponse()
        text = reply.read().decode("utf-8", "replace")
    finally:
        connection.close()
    if reply.status != 200:
        raise OSError(f"it answers {reply.status}")
    return text


class Api(t.Protocol):
    """What is asked of the API: the client of a kubeconfig, or a test's."""

    def request(
        self, path: str, method: str = "GET", body: t.Any = None, content_type: str = "application/json"
    ) -> Answer: ...


class WorkloadError(Exception):
    """A step that did not succeed, in words."""


@dataclass
class Workload:
    """The deployment and what was found; `steps` are those that succeeded."""

    api: Api
    image: str
    nodes: t.Sequence[str]
    dns_domain: str = "cluster.local"
    timeout: float = 180
    pause: float = 0.2
    get: t.Callable[[str, int], str] = field(default=http_get)
    steps: list[str] = field(default_factory=list)

    def run(self) -> list[str]:
        """Do all of it, and clean up whatever happens; returns the steps, raises WorkloadError."""
        self._clear()
        try:
            self._create()
            pods, service = self._scale()
            self._reach(pods, service)
        except Exception:
            with contextlib.suppress(Exception):  # what went wrong first is what counts
                self._remove()
            raise
        self._remove()
        self.steps.append("deleted")
        return self.steps

    def _ask(self, path: str, method: str = "GET", body: t.Any = None, patch: bool = False) -> t.Any:
        kind = "application/merge-patch+json" if patch else "application/json"
        answer = self.api.request(path, method, body, kind)
        if not answer.ok:
            said = (answer.json() or {}).get("message") if answer.status else answer.body
            raise WorkloadError(f"{method} {path}: {said or answer.body[:300]}")
        return answer.json() or {}

    def _until(self, what: str, done: t.Callable[[], str]) -> None:
        """Wait until `done` has nothing left to say."""
        deadline = time.monotonic() + self.timeout
        while left := done():
            if time.monotonic() >= deadline:
                raise WorkloadError(f"{what}: not after {self.timeout:g} seconds ({left})")
            time.sleep(self.pause)

    def _delete_namespace(self) -> None:
        path = f"/api/v1/namespaces/{NAMESPACE}"
        answer = self.api.request(path, "DELETE")
        if answer.status not in (200, 202, 404, 409):
            raise WorkloadError(f"DELETE {path}: {answer.body[:300]}")

    def _clear(self) -> None:
        """Delete what a run that was cut off has left, and wait until the namespace is gone."""
        self._delete_namespace()
        self._until(
            f"namespace {NAMESPACE} deleted",
            lambda: (
                "" if self.api.request(f"/api/v1/namespaces/{NAMESPACE}").status == 404 else "still there"
            ),
        )

    def _remove(self) -> None:
        """Delete everything, and wait until the pods are gone.

        The namespace, empty by then, follows: its controller lets five seconds pass before it looks at one.
        """
        self._delete_namespace()
        for path in (
            f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments",
            f"/api/v1/namespaces/{NAMESPACE}/pods",
        ):
            self._ask(f"{path}?propagationPolicy=Background", "DELETE")
        self._until("deployment deleted", lambda: f"{left} pods left" if (left := self._left()) else "")

    def _left(self) -> int:
        return len(self._ask(f"/api/v1/namespaces/{NAMESPACE}/pods")["items"])

    def _create(self) -> None:
        labels = {"app.kubernetes.io/name": "kubestead-check"}
        self._ask(
            "/api/v1/namespaces",
            "POST",
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}},
        )
        # A pod needs its namespace's service account, which a controller makes a moment later.
        account = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/default"
        self._until("service account made", lambda: "" if self.api.request(account).ok else "not yet")
        self._ask(
            f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments",
            "POST",
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": NAME, "labels": labels},
                "spec": {
                    "replicas": 1,
                    "selector": {"matchLabels": {"app": NAME}},
                    "template": {"metadata": {"labels": {"app": NAME}}, "spec": self._server()},
                },
            },
        )
        self._ask(
            f"/api/v1/namespaces/{NAMESPACE}/services",
            "POST",
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": NAME, "labels": labels},
                "spec": {"selector": {"app": NAME}, "ports": [{"port": 80, "targetPort": PORT}]},
            },
        )
        self._until("deployment created", lambda: self._missing(1))
        self.steps.append("created")

    def _server(self) -> dict[str, t.Any]:
        command = f"hostname > /www/index.html && exec httpd -f -p {PORT} -h /www"
        # Not on a node that this run could not reach: it may be down, and the cluster not know it yet.
        here = [
            {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
            for node in self.nodes
        ]
        return {
            **self._pod(command, []),
            "affinity": {
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": here},
                },
            },
            "topologySpreadConstraints": [
                {
                    "maxSkew": 1,
                    "topologyKey": "kubernetes.io/hostname",
                    "whenUnsatisfiable": "ScheduleAnyway",
                    "labelSelector": {"matchLabels": {"app": NAME}},
                }
            ],
        }

    def _pod(self, command: str, arguments: t.Sequence[str]) -> dict[str, t.Any]:
        """A pod that needs no rights, on whichever node."""
        container: dict[str, t.Any] = {
            "name": "check",
            "image": self.image,
            "command": ["sh", "-c", command, "sh", *arguments],
            "securityContext": {
                "runAsUser": 65534,
                "runAsNonRoot": True,
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            },
            "volumeMounts": [{"name": "www", "mountPath": "/www"}],
        }
        if not arguments:
            container["readinessProbe"] = {"httpGet": {"path": "/", "port": PORT}, "periodSeconds": 1}
        return {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 0,
            "tolerations": [{"operator": "Exists"}],
            "containers": [container],
            "volumes": [{"name": "www", "emptyDir": {}}],
        }

    def _missing(self, replicas: int) -> str:
        """What the deployment still lacks."""
        deployment = self._ask(f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{NAME}")
        status = deployment.get("status", {})
        ready = int(status.get("availableReplicas", 0))
        seen = status.get("observedGeneration") == deployment.get("metadata", {}).get("generation")
        if seen and ready == replicas:
            return ""
        return f"{ready} of {replicas} pods ready{self._why()}"

    def _why(self) -> str:
        for pod in self._pods():
            for status in pod.get("status", {}).get("containerStatuses") or []:
                waiting = (status.get("state") or {}).get("waiting") or {}
                if waiting.get("message"):
                    return f"; {pod['metadata']['name']}: {waiting['message'][:200]}"
            for condition in pod.get("status", {}).get("conditions") or []:
                if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
                    return f"; {pod['metadata']['name']}: {condition.get('message', '')[:200]}"
        return ""

    def _pods(self) -> list[dict[str, t.Any]]:
        return list(self._ask(f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=app%3D{NAME}")["items"])

    def _scale(self) -> tuple[list[str], str]:
        """One pod a node, and two at least; returns their addresses and the service's."""
        replicas = max(2, len(self.nodes))
        self._ask(
            f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{NAME}/scale",
            "PATCH",
            {"spec": {"replicas": replicas}},
            patch=True,
        )
        self._until(f"scaled to {replicas}", lambda: self._missing(replicas))
        service = self._ask(f"/api/v1/namespaces/{NAMESPACE}/services/{NAME}")
        self.steps.append(f"scaled to {replicas}")
        pods = [pod["status"]["podIP"] for pod in self._pods() if pod.get("status", {}).get("podIP")]
        return pods, str(service["spec"]["clusterIP"])

    def _reach(self, pods: t.Sequence[str], service: str) -> None:
        name = f"{NAME}.{NAMESPACE}.svc.{self.dns_domain}."
        words = [service, name, *pods]
        for number, node in enumerate(self.nodes):
            self._ask(
                f"/api/v1/namespaces/{NAMESPACE}/pods",
                "POST",
                {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "metadata": {"name": f"probe-{number}", "labels": {"app": "probe"}},
                    "spec": {**self._pod(PROBE, words), "nodeName": node, "restartPolicy": "Never"},
                },
            )
        self._until("asked from every node", self._running)
        lost = [f"from {node}: {said}" for node, said in self._said().items() if said]
        try:
            self.get(service, 80)
        except (OSError, HTTPException) as error:
            lost.append(f"from this node itself: service {service} ({error or type(error).__name__})")
        if lost:
            raise WorkloadError(f"not reached {'; '.join(lost)}")
        self.steps.append(f"reached from {len(self.nodes)} nodes by pod, service and name")

    def _probes(self) -> list[dict[str, t.Any]]:
        return list(self._ask(f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=app%3Dprobe")["items"])

    def _running(self) -> str:
        waiting = [
            str(pod["spec"].get("nodeName"))
            for pod in self._probes()
            if pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")
        ]
        return f"waiting for {', '.join(waiting)}" if waiting else ""

    def _said(self) -> dict[str, str]:
        """The last words of each probe, by node; empty where it reached everything."""
        said = {}
        for pod in self._probes():
            statuses = pod.get("status", {}).get("containerStatuses") or [{}]
            end = (statuses[0].get("state") or {}).get("terminated") or {}
            fine = pod.get("status", {}).get("phase") == "Succeeded"
            why = end.get("message") or end.get("reason") or pod.get("status", {}).get("message")
            said[str(pod["spec"].get("nodeName"))] = "" if fine else str(why or "it failed")
        return said
