# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines and what people do with them, events, claims, backups, numbers, and the description of it all."""

from __future__ import annotations

import errno
import json
import re
import sqlite3
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from kubestead.api.app import create_app
from kubestead.api.bodies import Event, Mac, MachineView
from kubestead.model.mac import is_mac
from kubestead.store import Store, StoreError
from tests.unit.api_sample import CP, REGISTRY, WORKER, Files, serving, until
from tests.unit.test_api_access import FOR_STRANGERS

STRANGER = "52:54:00:77:00:99"


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files.make(tmp_path)


@pytest.fixture
def api(files: Files) -> Iterator[TestClient]:
    with serving(files) as client:
        yield client


def report(api: TestClient, mac: str, *states: str, **more: Any) -> None:
    for state in states:
        answer = api.post("/api/state", json={"mac": mac, "state": state, **more})
        assert answer.status_code == 200, answer.text


def act(api: TestClient, action: str, mac: str = CP, **body: Any) -> Any:
    return api.post(f"/api/machines/{mac}/{action}", json=body)


def test_a_machine_is_seen_whole(api: TestClient) -> None:
    before = api.get(f"/api/machines/{CP.replace(':', '-').upper()}").json()
    assert before == {
        "mac": CP,
        "hostname": "cp-1",
        "role": "control-plane",
        "architecture": "amd64",
        "os": None,
        "cluster": "homelab",
        "ip": "10.77.0.11",
        "address": None,
        "registered": True,
        "features": ["kubernetes"],
        "feature_status": {},
        "state": None,
        "phase": None,
        "progress": None,
        "message": None,
        "error": None,
        "locked": False,
        "since": None,
        "updated_at": None,
        "deadline_at": None,
        "version": 0,
        "install": {
            "desired_id": None,
            "completed_id": None,
            "attempts": 0,
            "most_attempts": 3,
            "overwrite": False,
            "handed_out_at": None,
        },
        "rescue": {"from_state": None, "handed_out_at": None},
    }
    assert list(before) == list(MachineView.model_fields)
    report(api, CP, "provisioning", phase="prepare", progress=10, features={"kubernetes": "installing"})
    since = api.get(f"/api/machines/{CP}").json()["since"]
    report(api, CP, "provisioning", message="packages", error="mirror is slow")
    after = api.get("/api/machines").json()[CP]
    assert after["since"] == since
    assert after["updated_at"] > since
    assert after["deadline_at"] > after["updated_at"]
    assert after["version"] > 0
    assert {key: after[key] for key in ("state", "phase", "progress", "message", "error")} == {
        "state": "provisioning",
        "phase": None,
        "progress": None,
        "message": "packages",
        "error": "mirror is slow",
    }
    assert after["feature_status"] == {"kubernetes": "installing"}


def test_machines_of_the_registry_come_first(api: TestClient) -> None:
    report(api, STRANGER, "discovered")
    machines = api.get("/api/machines").json()
    assert list(machines) == [CP, WORKER, STRANGER]
    assert (machines[STRANGER]["registered"], machines[STRANGER]["hostname"]) == (False, None)
    assert all(MachineView.model_validate(machine) for machine in machines.values())


def test_a_machine_that_nobody_knows(api: TestClient) -> None:
    answers = [
        api.get(f"/api/machines/{STRANGER}"),
        act(api, "approve", STRANGER),
        act(api, "lock", STRANGER),
    ]
    for answer in answers:
        assert answer.status_code == 404
        assert "neither in the registry" in answer.json()["detail"]
    assert act(api, "reinstall", STRANGER, hostname="x").status_code == 404
    assert act(api, "approve", "nonsense").status_code == 422


def test_a_discovered_machine_is_approved(api: TestClient) -> None:
    report(api, STRANGER, "discovered")
    assert act(api, "approve", STRANGER).json()["state"] == "approved"
    assert act(api, "approve", STRANGER).json()["state"] == "approved", "twice is as good as once"
    assert act(api, "retire", STRANGER).json()["state"] == "retired"
    kinds = [(event["kind"], event["actor"]) for event in api.get("/api/events").json()]
    assert kinds == [("transition", "host")] * 3


def test_a_locked_machine_is_not_installed(api: TestClient) -> None:
    assert act(api, "lock").json()["locked"] is True
    refused = act(api, "reinstall", hostname="cp-1")
    assert refused.status_code == 409
    assert (
        refused.json()["detail"] == "the machine is locked and cannot go to install_pending; unlock it first"
    )
    assert refused.json()["machine"]["locked"] is True
    refused = api.post("/api/state", json={"mac": CP, "state": "install_pending"})
    assert refused.status_code == 409
    assert act(api, "unlock").json()["locked"] is False
    machine = act(api, "reinstall", hostname="cp-1").json()
    assert (machine["state"], machine["install"]["attempts"]) == ("install_pending", 0)
    assert machine["install"]["desired_id"] != machine["install"]["completed_id"]


def test_a_lock_in_the_registry_counts(api: TestClient, files: Files) -> None:
    files.registry.write_text(json.dumps({**REGISTRY, CP: {**REGISTRY[CP], "locked": True}}))
    assert api.get(f"/api/machines/{CP}").json()["locked"] is True
    assert act(api, "reinstall", hostname="cp-1").status_code == 409
    assert api.post("/api/state", json={"mac": CP, "state": "install_pending"}).status_code == 409
    assert act(api, "unlock").json()["locked"] is True


def test_a_reinstall_names_the_machine(api: TestClient) -> None:
    refused = act(api, "reinstall", hostname="worker-1")
    assert refused.status_code == 409
    assert refused.json()["detail"] == f'the machine {CP} is cp-1, not "worker-1": nothing was done'
    assert refused.json()["machine"]["hostname"] == "cp-1"
    assert 'field "hostname" is missing' in act(api, "reinstall").json()["detail"]
    assert api.get(f"/api/machines/{CP}").json()["state"] is None


def test_two_operators_cannot_both_win(api: TestClient) -> None:
    seen = act(api, "lock").json()["version"]
    assert act(api, "unlock", version=seen).status_code == 200
    late = act(api, "retire", version=seen)
    assert late.status_code == 409
    assert set(late.json()) == {"detail", "machine"}
    assert late.json()["machine"]["version"] > seen
    assert late.json()["machine"]["state"] != "retired"
    assert act(api, "retire", version=late.json()["machine"]["version"]).status_code == 200
    for version in (-1, "1", 1.5, True):
        assert act(api, "retire", version=version).status_code == 422
    assert 'unknown field "force" (known: version)' in act(api, "lock", force=True).json()["detail"]


def test_what_the_lifecycle_forbids(api: TestClient) -> None:
    assert act(api, "retire").status_code == 200
    refused = act(api, "reinstall", hostname="cp-1")
    assert (refused.status_code, refused.json()["machine"]["state"]) == (409, "retired")


def test_a_deadline_that_has_passed(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubestead.api.app.SWEEP_SECONDS", 0.05)
    with serving(files, deadlines={"installing": 60}) as api:
        report(api, CP, "install_pending", "installing", message="formatting")
        deadline = datetime.fromisoformat(api.get(f"/api/machines/{CP}").json()["deadline_at"])
        assert timedelta(seconds=50) < deadline - datetime.now(timezone.utc) <= timedelta(seconds=60)
        with sqlite3.connect(files.database) as database:
            database.execute("UPDATE machines SET deadline_at = '2020-01-01 00:00:00.000000'")
        database.close()
        until(lambda: api.get(f"/api/machines/{CP}").json()["state"] == "failed")
        assert "formatting" in api.get(f"/api/machines/{CP}").json()["error"]
        assert api.get("/api/events").json()[0]["kind"] == "deadline"


def test_events_page_by_page(api: TestClient) -> None:
    report(api, CP, "provisioning", *["provisioning"] * 4)
    report(api, WORKER, "installed")
    newest = api.get("/api/events", params={"limit": 2}).json()
    assert [event["id"] for event in newest] == [6, 5]
    assert all(list(event) == list(Event.model_fields) for event in newest)
    assert (newest[0]["mac"], newest[0]["kind"], newest[0]["previous_state"]) == (WORKER, "transition", None)
    after = api.get("/api/events", params={"after": 3}).json()
    assert [event["id"] for event in after] == [4, 5, 6]
    mine = api.get("/api/events", params={"after": 0, "mac": WORKER.upper(), "limit": 1}).json()
    assert [event["id"] for event in mine] == [6]
    assert api.get("/api/events", params={"after": 10**15}).json() == []


@pytest.mark.parametrize(
    "query", ["after=-1", "after=x", "limit=0", "limit=1001", "mac=nonsense", "after=99999999999999999999"]
)
def test_a_wrong_question_about_events(api: TestClient, query: str) -> None:
    answer = api.get(f"/api/events?{query}")
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(query.partition("=")[0])


def test_data_has_a_table_of_contents(api: TestClient) -> None:
    assert api.get(f"/api/data/{CP}").json() == {}
    made = {
        key: api.post("/api/data", json={"mac": CP, "key": key, "value": key}).json()["updated_at"]
        for key in ("b", "a")
    }
    assert api.get(f"/api/data/{CP}").json() == made


def test_a_claim_is_won_once(api: TestClient) -> None:
    def claim(method: str, name: str = "cluster-homelab", **body: Any) -> Any:
        return api.request(method, f"/api/claims/{name}", json=body or None)

    assert claim("GET").status_code == 404
    won = claim("POST", holder="cp-1")
    assert (won.status_code, won.json()["holder"], won.json()["epoch"]) == (201, "cp-1", 1)
    assert claim("POST", holder="cp-1").status_code == 200
    lost = claim("POST", holder=WORKER.upper())
    assert (lost.status_code, lost.json()["claim"]) == (409, won.json())
    assert "cp-1" in lost.json()["detail"]
    assert claim("PUT", holder="cp-1", epoch=2, data=1).status_code == 409
    assert claim("PUT", holder=WORKER, epoch=1, data=1).status_code == 409
    done = claim("PUT", holder="cp-1", epoch=1, data={"endpoint": "10.77.0.11:6443"})
    assert (done.status_code, done.json()["state"]) == (200, "initialized")
    assert claim("GET").json()["data"] == {"endpoint": "10.77.0.11:6443"}
    forced = claim("POST", "cluster-homelab/force", holder=WORKER.upper())
    assert (forced.json()["holder"], forced.json()["epoch"], forced.json()["state"]) == (WORKER, 2, "claimed")
    assert [each["name"] for each in api.get("/api/claims").json()] == ["cluster-homelab"]
    assert claim("POST", "cluster-homelab/release", epoch=1).status_code == 409
    assert claim("POST", "cluster-homelab/release", epoch=2).json()["holder"] == WORKER
    assert claim("POST", "cluster-homelab/release", epoch=2).status_code == 404
    assert claim("GET").status_code == 404
    assert claim("PUT", "nothing", holder="x", epoch=1, data=1).status_code == 404
    assert claim("POST", "-", holder="x").status_code == 422
    assert claim("POST", holder="").status_code == 422


def test_a_backup_is_a_whole_store(api: TestClient, files: Files, tmp_path: Path) -> None:
    report(api, CP, "provisioning", message="half way")
    answer = api.get("/api/backup")
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert re.search(r'filename="kubestead-\d{8}T\d{6}Z\.backup"', answer.headers["Content-Disposition"])
    copy = tmp_path / "copy"
    copy.write_bytes(answer.content)
    with sqlite3.connect(copy) as database:
        assert database.execute("SELECT state, message FROM machines").fetchall() == [
            ("provisioning", "half way")
        ]
    database.close()
    assert not list(files.database.parent.glob("kubestead-backup-*")), "nothing is left of it on the host"


def test_a_backup_that_cannot_be_made(api: TestClient, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(_store: Store, _path: Path) -> None:
        raise StoreError("pg_dump is not installed: apt-get install postgresql-client")

    def full(_store: Store, _path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for backup, words in ((lacking, "pg_dump is not installed"), (full, "No space left on device")):
        monkeypatch.setattr(Store, "backup", backup)
        answer = api.get("/api/backup")
        assert (answer.status_code, words in answer.json()["detail"]) == (503, True)
    assert not list(files.database.parent.glob("kubestead-backup-*"))


def test_prometheus_is_told(api: TestClient) -> None:
    report(api, CP, "provisioning")
    api.get("/api/machines/nonsense")
    api.get("/api/wherever/that/is")
    api.get("/healthz")
    answer = api.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    for line in (
        'kubestead_machines{state="provisioning"} 1.0',
        'kubestead_machines{state="none"} 1.0',
        'kubestead_machines{state="failed"} 0.0',
        'kubestead_http_requests_total{method="GET",route="/api/machines/{mac}",status="422"} 1.0',
        'kubestead_http_requests_total{method="any",route="no such path",status="404"} 1.0',
        'kubestead_http_request_seconds_count{route="/api/state"} 1.0',
        'kubestead_registry_condition{condition="ok"} 1.0',
        "kubestead_registry_machines 2.0",
        "kubestead_stream_viewers 0.0",
        "kubestead_events_total 1.0",
    ):
        assert line in answer.text.splitlines()
    assert CP not in answer.text


def test_every_status_is_documented(files: Files) -> None:
    document = TestClient(create_app(files.settings())).get("/openapi.json").json()
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            statuses = {int(status) for status in operation["responses"]}
            assert 429 in statuses
            if (method.upper(), path) in FOR_STRANGERS | {("GET", "/healthz")}:
                assert "security" not in operation
                continue
            assert operation["security"] == [{"token": []}]
            assert operation["x-scopes"][0] == ("install" if path == "/api/exchange" else "operator")
            assert {401, 403} <= statuses
            assert operation["description"], f"{method} {path}"
            if "requestBody" in operation:
                assert {400, 413, 415, 422} <= statuses
    ids = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(ids) == len(set(ids))
    # What a client may send is said as exactly as it is checked.
    state = document["components"]["schemas"]["StateBody"]
    assert state["additionalProperties"] is False


def test_the_documentation_needs_no_other_host(files: Files) -> None:
    api = TestClient(create_app(files.settings()))
    page = api.get("/docs")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son\w+=", page.text), "nothing inline"
    for name in re.findall(r'(?:href|src)="([^"]+)"', page.text):
        assert name.startswith("/")
        assert api.get(name).status_code == 200
    for name in ("docs.js", "docs.css"):
        text = api.get(f"/docs/{name}").text
        assert "http://" not in text
        assert "https://" not in text
    assert "innerHTML" not in api.get("/docs/docs.js").text


def test_the_dashboard_is_served(files: Files) -> None:
    page = TestClient(create_app(files.settings())).get("/")
    assert page.status_code == 200
    assert "Content-Security-Policy" in page.headers


@pytest.mark.parametrize("query", ["limt=5", "x", "after=1&mac=&_=7"])
def test_an_unknown_parameter_is_named(api: TestClient, query: str) -> None:
    answer = api.get(f"/api/events?{query}")
    assert answer.status_code == 422
    assert "unknown parameter" in answer.json()["detail"]
    assert "(known: after, mac, limit)" in answer.json()["detail"]
    assert "(known: none)" in api.get(f"/api/machines?{query}").json()["detail"]


@given(
    st.one_of(
        st.from_regex(r"\A([0-9a-fA-F]{2}[:-]?){5,7}\Z"),
        st.from_regex(r"\A([0-9a-fA-F]{4}\.){2}[0-9a-fA-F]{4}\Z"),
        st.text("0123456789abF:-.", max_size=22),
    )
)
def test_the_description_knows_what_a_mac_is(text: str) -> None:
    assert bool(re.search(TypeAdapter(Mac).json_schema()["pattern"], text)) == is_mac(text)
