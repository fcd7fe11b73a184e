# SPDX-License-Identifier: GPL-3.0-or-later
"""A deployment that is created, scaled, reached and deleted, against an API that keeps objects."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from kubestead.model import cluster_workload as workload
from kubestead.model.cluster_workload import Workload, WorkloadError
from kubestead.model.kubeconfig import Answer

BASE = "/api/v1/namespaces"
SPACE = f"{BASE}/{workload.NAMESPACE}"
DEPLOYMENT = f"/apis/apps/v1/namespaces/{workload.NAMESPACE}/deployments/{workload.NAME}"


class Cluster:
    """Keeps what it is given, and makes pods of a deployment as soon as it is asked for it."""

    def __init__(self, lost: dict[str, str] | None = None, broken: str = "") -> None:
        self.objects: dict[str, Any] = {}
        self.asked: list[str] = []
        self.created: list[Any] = []
        self.lost, self.broken = lost or {}, broken
        self.deaf = False

    def request(
        self, path: str, method: str = "GET", body: Any = None, content_type: str = "application/json"
    ) -> Answer:
        self.asked.append(f"{method} {path}")
        answer = getattr(self, f"_{method.lower()}")(path, body, content_type)
        return answer if isinstance(answer, Answer) else Answer(200, json.dumps(answer))

    def _delete(self, path: str, body: Any, content_type: str) -> Any:
        if self.deaf:
            return Answer(500, json.dumps({"message": "no leader"}))
        if path == SPACE:
            return {} if self.objects.pop(SPACE, None) else Answer(404, "{}")
        kind = path.partition("?")[0]
        self.objects = {name: one for name, one in self.objects.items() if not name.startswith(kind)}
        return {}

    def _post(self, path: str, body: Any, content_type: str) -> Any:
        self.objects[f"{path}/{body['metadata']['name']}"] = body
        self.created.append(body)
        if body["kind"] == "Namespace":
            self.objects[f"{SPACE}/serviceaccounts/default"] = {}
        if body["kind"] == "Service":
            body["spec"]["clusterIP"] = "10.96.3.4"
        return body

    def _patch(self, path: str, body: Any, content_type: str) -> Any:
        assert path == f"{DEPLOYMENT}/scale"
        assert content_type == "application/merge-patch+json"
        self.objects[DEPLOYMENT]["spec"].update(body["spec"])
        return {}

    def _get(self, path: str, body: Any, content_type: str) -> Any:
        if "labelSelector=app%3Dweb" in path:
            return {"items": self._pods()}
        if "labelSelector=app%3Dprobe" in path:
            return {"items": self._probes()}
        if path == f"{SPACE}/pods":
            return {"items": [*self._pods(), *self._probes()]}
        found = self.objects.get(path)
        if found is not None and path == DEPLOYMENT:
            found["status"] = {"availableReplicas": 0 if self.broken else found["spec"]["replicas"]}
        return Answer(404, json.dumps({"message": "not found"})) if found is None else found

    def _pods(self) -> list[Any]:
        waiting = [{"state": {"waiting": {"message": self.broken}}}] if self.broken else []
        return [
            {
                "metadata": {"name": f"web-{number}"},
                "status": {"podIP": f"10.244.{number}.2", "containerStatuses": waiting},
            }
            for number in range(self.objects.get(DEPLOYMENT, {"spec": {"replicas": 0}})["spec"]["replicas"])
        ]

    def _probes(self) -> list[Any]:
        probes = [one for name, one in self.objects.items() if "/pods/probe-" in name]
        for one in probes:
            said = self.lost.get(one["spec"]["nodeName"], "")
            end = {"state": {"terminated": {"message": said}}}
            one["status"] = {"phase": "Failed" if said else "Succeeded", "containerStatuses": [end]}
        return probes


def work(cluster: Cluster, **more: Any) -> Workload:
    more.setdefault("get", lambda host, port: "web-0")
    return Workload(cluster, "busybox:1", ["cp-1", "w-1", "w-2"], timeout=0.2, pause=0.01, **more)


def test_all_steps_and_nothing_stays() -> None:
    cluster = Cluster()
    steps = work(cluster).run()
    assert steps == ["created", "scaled to 3", "reached from 3 nodes by pod, service and name", "deleted"]
    kinds = ("pods", "deployments")
    assert [name for name in cluster.objects if any(f"/{kind}/" in name for kind in kinds)] == []
    assert SPACE not in cluster.objects, "what else is in it goes with it"
    assert cluster.asked[0] == f"DELETE {SPACE}", "what a run that was cut off left is cleared first"


def test_each_node_asks_every_pod_the_service_and_the_name() -> None:
    cluster = Cluster(lost={"w-2": "pod 10.244.0.2; name web.kubestead-check.svc.cluster.local."})
    with pytest.raises(WorkloadError, match=r"not reached from w-2: pod 10\.244\.0\.2; name web"):
        work(cluster).run()
    seen = [one["spec"] for one in cluster.created if one["metadata"]["name"].startswith("probe")]
    assert [one["nodeName"] for one in seen] == ["cp-1", "w-1", "w-2"]
    words = seen[0]["containers"][0]["command"][4:]
    assert words[:2] == ["10.96.3.4", "web.kubestead-check.svc.cluster.local."]
    assert words[2:] == ["10.244.0.2", "10.244.1.2", "10.244.2.2"]
    assert SPACE not in cluster.objects, "it is cleared away then, too"
    assert cluster._get(f"{SPACE}/pods", None, "") == {"items": []}


def test_what_a_pod_waits_for_is_said() -> None:
    with pytest.raises(WorkloadError, match="0 of 1 pods ready; web-0: cannot pull it"):
        work(Cluster(broken="cannot pull it")).run()


def test_what_went_wrong_first_is_said_also_where_nothing_can_be_deleted() -> None:
    cluster = Cluster()

    def refuse(host: str, port: int) -> str:
        cluster.deaf = True
        raise OSError("timed out")

    with pytest.raises(WorkloadError, match="from this node itself"):
        work(cluster, get=refuse).run()


def test_pods_that_stay_are_no_success() -> None:
    class Sticky(Cluster):
        def _delete(self, path: str, body: Any, content_type: str) -> Any:
            return {} if "/pods?" in path else super()._delete(path, body, content_type)

    with pytest.raises(WorkloadError, match=r"deployment deleted: not after .*3 pods left"):
        work(Sticky()).run()


def test_the_node_itself_reaches_the_service() -> None:
    def refuse(host: str, port: int) -> str:
        raise ConnectionRefusedError("refused")

    with pytest.raises(WorkloadError, match=r"from this node itself: service 10\.96\.3\.4 \(refused\)"):
        work(Cluster(), get=refuse).run()


def probe(tmp_path: Path, nc: str, nslookup: str) -> tuple[int, str]:
    """Run what a probing pod runs, with programs that answer as they are told."""
    for name, script in (("nc", nc), ("nslookup", nslookup), ("sleep", ":")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    last = tmp_path / "last"
    script = workload.PROBE.replace("/dev/termination-log", str(last))
    done = subprocess.run(
        ["sh", "-c", script, "sh", "10.96.3.4", "web.svc.", "10.244.0.2", "10.244.1.2"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        check=False,
    )
    return done.returncode, last.read_text() if last.exists() else ""


WELL = "cat > /dev/null; printf 'HTTP/1.1 200 OK\\r\\n\\r\\n'"


def test_the_probe_reaches_everything(tmp_path: Path) -> None:
    assert probe(tmp_path, WELL, "echo Address: 10.96.3.4") == (0, "")


def test_the_probe_names_all_that_it_does_not_reach(tmp_path: Path) -> None:
    code, said = probe(tmp_path, f'[ "$3" = 10.244.1.2 ] || {{ {WELL}; }}', "echo Address: 10.96.0.10")
    assert (code, said) == (1, "pod 10.244.1.2; name web.svc.")


def test_an_answer_that_is_no_page_does_not_count(tmp_path: Path) -> None:
    code, said = probe(tmp_path, "printf 'HTTP/1.0 404 Not Found\\r\\n'", "echo Address: 10.96.3.4")
    assert (code, said) == (1, "pod 10.244.0.2; pod 10.244.1.2; service 10.96.3.4")


def test_its_pods_run_on_no_node_but_those_that_were_reached() -> None:
    cluster = Cluster()
    work(cluster).run()
    [deployment] = [one for one in cluster.created if one["kind"] == "Deployment"]
    affinity = deployment["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]
    terms = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    fields = [field for term in terms for field in term["matchFields"]]
    assert [(field["key"], field["values"]) for field in fields] == [
        ("metadata.name", ["cp-1"]),
        ("metadata.name", ["w-1"]),
        ("metadata.name", ["w-2"]),
    ]
