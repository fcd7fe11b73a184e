# SPDX-License-Identifier: GPL-3.0-or-later
"""The State API: its five paths, its refusals, the live registry, and the program as a service."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from kubestead.api.app import create_app
from kubestead.api.auth import Token, TokenFileError
from kubestead.api.settings import VALUE_LIMIT, Settings
from tests.unit.api_sample import BEARER, CP, REGISTRY, WORKER, Files, serving

STRANGER = "52:54:00:77:00:99"


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files.make(tmp_path)


@pytest.fixture
def api(files: Files) -> Iterator[TestClient]:
    with serving(files) as client:
        yield client


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """One for all tests that write nothing."""
    with serving(Files.make(tmp_path_factory.mktemp("untouched"))) as client:
        yield client


def refusal(api: TestClient, path: str, body: Any) -> str:
    """The words with which a body is refused."""
    answer = api.post(path, json=body)
    assert answer.status_code == 422
    assert set(answer.json()) == {"detail"}
    detail: str = answer.json()["detail"]
    return detail


def test_health_needs_no_token(untouched: TestClient) -> None:
    answer = untouched.get("/healthz", headers={"Authorization": ""})
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ok",
        "version": "0.1.0",
        "registry": "ok",
        "registry_problems": 0,
        "machines": 2,
        "store": "sqlite",
    }


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"/api/config/{CP}"),
        ("POST", "/api/state"),
        ("POST", "/api/data"),
        ("GET", f"/api/data/{CP}/k"),
        ("GET", "/api/states"),
    ],
)
@pytest.mark.parametrize(
    "header", ["", BEARER, f"Basic {BEARER}", "Bearer", "Bearer wrong", f"Bearer {BEARER}x", "Bearer ä"]
)
def test_every_path_needs_the_token(untouched: TestClient, method: str, path: str, header: str) -> None:
    answer = untouched.request(method, path, headers={b"Authorization": header.encode("latin-1")})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert "token" in answer.json()["detail"]
    assert BEARER not in answer.text


def test_the_scheme_is_read_in_any_case(untouched: TestClient) -> None:
    assert untouched.get("/api/states", headers={"Authorization": f"bearer  {BEARER} "}).status_code == 200


@pytest.mark.parametrize("mac", [CP, CP.upper(), "52-54-00-77-00-11", "5254.0077.0011", "525400770011"])
def test_config_is_the_entry_without_secrets(untouched: TestClient, mac: str) -> None:
    entry = untouched.get(f"/api/config/{mac}").json()
    assert entry["mac"] == CP
    for key in ("hostname", "role", "architecture", "features", "ip", "rack"):
        assert entry[key] == REGISTRY[CP][key]
    assert "bmc" not in entry
    assert entry["notes"] == {"shelf": 3}


def test_config_of_an_unknown_machine(untouched: TestClient) -> None:
    answer = untouched.get(f"/api/config/{STRANGER}")
    assert answer.status_code == 404
    assert f"{STRANGER} is not in the registry" in answer.json()["detail"]
    answer = untouched.get("/api/config/nonsense")
    assert answer.status_code == 422
    assert "'nonsense' is not a MAC address" in answer.json()["detail"]


def test_a_state_is_seen_with_the_registry(api: TestClient) -> None:
    body = {
        "mac": "52-54-00-77-00-11",
        "state": "provisioning",
        "phase": "prepare",
        "progress": 0,
        "message": "packages",
        "features": {"kubernetes": "installing"},
    }
    answer = api.post("/api/state", json=body).json()
    assert (answer["mac"], answer["state"]) == (CP, "provisioning")
    states = api.get("/api/states").json()
    assert list(states) == [CP, WORKER]
    assert states[CP] == {
        "hostname": "cp-1",
        "role": "control-plane",
        "state": "provisioning",
        "phase": "prepare",
        "progress": 0,
        "message": "packages",
        "features": {"kubernetes": "installing"},
        "updated_at": answer["updated_at"],
    }
    assert states[CP]["updated_at"].endswith("Z")
    assert (states[WORKER]["hostname"], states[WORKER]["state"], states[WORKER]["updated_at"]) == (
        "worker-1",
        None,
        None,
    )


def test_only_what_the_lifecycle_allows_is_taken(api: TestClient) -> None:
    for state in ("install_pending", "installing", "installing", "installed", "provisioning", "ready"):
        assert api.post("/api/state", json={"mac": CP, "state": state, "message": None}).status_code == 200
    answer = api.post("/api/state", json={"mac": CP, "state": "discovered"})
    assert answer.status_code == 409
    assert answer.json()["detail"].startswith("a machine that is ready cannot go to discovered, only to ")
    assert api.get("/api/states").json()[CP]["state"] == "ready"


def test_a_new_machine_is_approved_if_it_is_registered(api: TestClient) -> None:
    assert api.post("/api/state", json={"mac": CP, "state": "installed"}).status_code == 200
    assert api.post("/api/state", json={"mac": STRANGER, "state": "installed"}).status_code == 409
    assert STRANGER not in api.get("/api/states").json()


@pytest.mark.parametrize("way", ["fast", "ordinary"])
def test_both_ways_of_a_report_answer_the_same(
    api: TestClient, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    if way == "ordinary":
        monkeypatch.setattr("kubestead.api.reports.PATH", "/none")
    body = {"mac": CP.upper(), "state": "provisioning", "features": {"gpu": "ready"}, "progress": 100}
    answer = api.post("/api/state", json=body)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert list(answer.json()) == ["mac", "state", "updated_at"]
    assert answer.json()["updated_at"] == api.get("/api/states").json()[CP]["updated_at"]
    answer = api.post("/api/state", json={"mac": CP, "state": "approved"})
    assert (answer.status_code, set(answer.json())) == (409, {"detail"})
    routes = api.get("/metrics").text
    assert 'method="POST",route="/api/state",status="200"} 1.0' in routes
    assert 'method="POST",route="/api/state",status="409"} 1.0' in routes


@pytest.mark.parametrize(
    ("report", "message"),
    [
        ({"message": "it broke"}, "it broke"),
        ({"error": "no space"}, "no space"),
        ({"message": "it broke", "error": "no space"}, "it broke: no space"),
        ({"message": "no space", "error": "no space"}, "no space"),
    ],
)
def test_the_message_ends_in_the_error(api: TestClient, report: dict[str, str], message: str) -> None:
    api.post("/api/state", json={"mac": CP, "state": "failed", **report})
    assert api.get("/api/states").json()[CP]["message"] == message


def test_a_machine_that_is_not_in_the_registry_may_report(
    api: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    assert api.post("/api/state", json={"mac": STRANGER, "state": "discovered"}).status_code == 200
    state = api.get("/api/states").json()[STRANGER]
    assert (state["hostname"], state["role"], state["state"]) == (None, None, "discovered")
    assert "not in the registry" in caplog.text


def test_all_problems_of_a_body_are_named_at_once(untouched: TestClient) -> None:
    detail = refusal(
        untouched, "/api/state", {"mac": "x", "state": "done", "progress": 101, "host": 1, "oops": 2}
    )
    for part in (
        "mac: 'x' is not a MAC address",
        'state: "done" is not a state: expected one of discovered, approved',
        "progress: expected less than or equal to 100",
        'unknown field "host" (known: mac, state, phase, progress, message, features, error)',
        'unknown field "oops"',
    ):
        assert part in detail


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"progress": -1}, "progress: expected greater than or equal to 0"),
        ({"progress": 50.5}, "progress: expected a valid integer"),
        ({"progress": "50"}, "progress: expected a valid integer"),
        ({"progress": True}, "progress: expected a valid integer"),
        ({"state": None}, "state: expected a valid string"),
        ({"message": "x" * 9000}, "message: must have at most 8192 characters"),
        ({"message": "a\0b"}, "message: a NUL character is not text"),
        ({"phase": 7}, "phase: expected a valid string"),
        ({"features": ["gpu"]}, "features: expected a valid dictionary"),
        ({"features": {"gpu": 1}}, "features.gpu: expected a valid string"),
        ({"features": {"../x": "ok"}}, "must match pattern"),
    ],
)
def test_a_wrong_field_is_named(untouched: TestClient, change: dict[str, Any], words: str) -> None:
    assert words in refusal(untouched, "/api/state", {"mac": CP, "state": "ready", **change})
    assert untouched.get("/api/states").json()[CP]["state"] is None


@pytest.mark.parametrize("value", [{"disks": ["sda", {"size": 1.5}]}, "text", 0, False, None, [], "ü𝄞\u0000"])
def test_a_datum_comes_back_as_it_went(api: TestClient, value: Any) -> None:
    stored = api.post("/api/data", json={"mac": CP, "key": "hardware.disks", "value": value}).json()
    answer = api.get(f"/api/data/{CP.replace(':', '-')}/hardware.disks").json()
    assert answer == {"mac": CP, "key": "hardware.disks", "value": value, "updated_at": stored["updated_at"]}


def test_a_datum_that_is_not_there(untouched: TestClient) -> None:
    answer = untouched.get(f"/api/data/{CP}/nothing")
    assert answer.status_code == 404
    assert answer.json()["detail"] == f"nothing is stored for {CP} under nothing"


def test_values_up_to_the_limit_are_stored(api: TestClient) -> None:
    largest = "ü" * ((VALUE_LIMIT - 2) // 2)
    assert api.post("/api/data", json={"mac": CP, "key": "k", "value": largest}).status_code == 200
    assert api.get(f"/api/data/{CP}/k").json()["value"] == largest
    detail = refusal(api, "/api/data", {"mac": CP, "key": "k", "value": largest + "x"})
    assert detail == f"value: the value is {VALUE_LIMIT + 1} bytes as JSON: at most {VALUE_LIMIT} are stored"
    answer = api.post("/api/data", json={"mac": CP, "key": "k", "value": "x" * 2 * VALUE_LIMIT})
    assert (answer.status_code, set(answer.json())) == (413, {"detail"})


def test_a_datum_needs_its_fields(untouched: TestClient) -> None:
    assert 'the field "value" is missing' in refusal(untouched, "/api/data", {"mac": CP, "key": "k"})
    for key in ("", "../etc", "a/b", "-", "x" * 129):
        assert refusal(untouched, "/api/data", {"mac": CP, "key": key, "value": 1}).startswith("key: must")


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (b"", 422, "a JSON body is missing"),
        (b"{", 422, "the body is not JSON"),
        (b"[1]", 422, "the body is not a JSON object"),
        (b'"text"', 422, "the body is not a JSON object"),
        (b"\xff\xfe\x00", 400, "the body cannot be read as JSON"),
        (b'{"mac":"52:54:00:77:00:11","key":"k","value":NaN}', 422, "value:"),
        (b'{"mac":"52:54:00:77:00:11","key":"k","value":"\\ud800"}', 422, "half of a surrogate pair"),
        (
            b'{"mac":"52:54:00:77:00:11","key":"k","value":' + b"[" * 90000 + b"]" * 90000 + b"}",
            400,
            "too deeply",
        ),
        (b'{"mac":"52:54:00:77:00:11","key":"k","value":' + b"9" * 5000 + b"}", 400, "too long"),
    ],
)
def test_a_body_that_is_no_good(untouched: TestClient, content: bytes, status: int, words: str) -> None:
    answer = untouched.post("/api/data", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    assert words in answer.json()["detail"]
    assert untouched.get(f"/api/data/{CP}/k").status_code == 404


def test_other_paths_methods_and_kinds(untouched: TestClient) -> None:
    for answer, status in (
        (untouched.get("/api/nothing"), 404),
        (untouched.delete("/api/states"), 405),
        (untouched.post("/api/state", content=b"mac=1", headers={"Content-Type": "text/plain"}), 415),
    ):
        assert (answer.status_code, set(answer.json())) == (status, {"detail"})
        assert "/docs" in answer.json()["detail"] or "application/json" in answer.json()["detail"]


def test_a_fault_is_told_without_a_traceback(
    api: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("kubestead.store.Store.machines", lambda _store: 1 / 0)
    answer = api.get("/api/states", headers={"X-Correlation-ID": "run-7"})
    assert answer.status_code == 500
    assert answer.headers["X-Correlation-ID"] == "run-7"
    assert "run-7" in answer.json()["detail"]
    assert "division" not in answer.text
    assert "ZeroDivisionError" in caplog.text


def test_a_locked_database_is_told(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubestead.store.database.BUSY_TIMEOUT_SECONDS", 0.1)
    with serving(files) as api:
        assert api.post("/api/state", json={"mac": CP, "state": "provisioning"}).status_code == 200
        other = sqlite3.connect(files.database, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        answer = api.post("/api/state", json={"mac": CP, "state": "ready"})
        assert answer.status_code == 503
        assert "database is locked" in answer.json()["detail"]
        assert answer.headers["Retry-After"] == "5"
        # Whoever only reads goes on.
        assert api.get("/api/states").json()[CP]["state"] == "provisioning"
        other.execute("ROLLBACK")
        other.close()
        assert api.post("/api/state", json={"mac": CP, "state": "ready"}).status_code == 200


def test_a_valid_edit_of_the_registry_takes_effect(api: TestClient, files: Files) -> None:
    edited = {**REGISTRY, STRANGER: {"hostname": "new-1", "role": "compute", "architecture": "amd64"}}
    files.registry.write_text(json.dumps(edited))
    assert api.get(f"/api/config/{STRANGER}").json()["hostname"] == "new-1"


@pytest.mark.parametrize(
    "edit", ["", "{", '{"x": {}}', json.dumps({CP: {**REGISTRY[CP], "role": "king", "ip": "1.2"}})]
)
def test_an_invalid_edit_changes_nothing_and_is_logged(
    api: TestClient, files: Files, caplog: pytest.LogCaptureFixture, edit: str
) -> None:
    files.registry.write_text(edit)
    assert api.get(f"/api/config/{CP}").json()["hostname"] == "cp-1"
    health = api.get("/healthz").json()
    assert (health["status"], health["registry"], health["machines"]) == ("ok", "invalid", 2)
    shown = api.get("/api/registry").json()
    assert (shown["condition"], shown["text"]) == ("invalid", edit)
    assert len(shown["problems"]) == health["registry_problems"] > 0
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert errors[-1].endswith("the last valid one stays in force")
    assert all(str(files.registry) in error for error in errors)
    if "king" in edit:
        assert any("role" in error and "king" in error for error in errors)
        assert any("ip" in error and "1.2" in error for error in errors)
    files.registry.write_text(json.dumps({WORKER: REGISTRY[WORKER]}))
    assert api.get(f"/api/config/{CP}").status_code == 404
    assert api.get("/healthz").json()["registry"] == "ok"


def test_the_last_valid_registry_outlives_a_restart(files: Files) -> None:
    settings = Settings(token_file=files.token, database=files.database, registry=files.registry)
    create_app(settings)
    files.registry.write_text("{")
    with TestClient(create_app(settings), headers={"Authorization": f"Bearer {BEARER}"}) as api:
        assert api.get(f"/api/config/{CP}").json()["hostname"] == "cp-1"
        assert api.get("/healthz").json()["registry"] == "invalid"


def test_no_registry_is_no_obstacle(files: Files) -> None:
    files.registry.unlink()
    settings = Settings(token_file=files.token, database=files.database, registry=files.registry)
    with TestClient(create_app(settings), headers={"Authorization": f"Bearer {BEARER}"}) as api:
        assert api.get("/healthz").json()["registry"] == "missing"
        assert api.get("/api/states").json() == {}


def test_a_token_file_that_is_no_good(tmp_path: Path) -> None:
    path = tmp_path / "token"
    with pytest.raises(TokenFileError, match="cannot be read"):
        Token.from_file(path)
    path.write_text(BEARER)
    path.chmod(0o644)
    with pytest.raises(TokenFileError, match="can be read by everyone"):
        Token.from_file(path)
    path.chmod(0o640)
    assert Token.from_file(path).matches(BEARER)
    for text in ("", "short", "two words of a long text", "ä" * 20):
        path.write_text(text)
        with pytest.raises(TokenFileError, match="holds no token"):
            Token.from_file(path)
