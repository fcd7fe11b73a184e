# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines that ask to be adopted: in SQLite, and by the API."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from kubestead.store.database import sqlite_url
from tests.unit.api_sample import CP, Files, bearer, serving
from tests.unit.enrolments_suite import STRANGER, EnrolmentsSuite

BODY = {
    "mac": STRANGER.upper(),
    "hostname": "shelf-3\x1b[31m",
    "addresses": ["10.77.0.99"],
    "hardware": {"cpu": "A Processor", "threads": 4, "disks": ["sda 1"], "gpus": []},
}


@pytest.fixture
def url(tmp_path: Path) -> str:
    return sqlite_url(tmp_path / "machines.db")


class TestSqlite(EnrolmentsSuite):
    """Everything that a store does about adoption."""


# By the API


@pytest.fixture
def api(tmp_path: Path) -> Iterator[TestClient]:
    with serving(Files.make(tmp_path)) as api:
        yield api


def test_asking_waiting_and_being_adopted(api: TestClient) -> None:
    nobody = {"Authorization": ""}
    answer = api.post("/api/enrolments", json=BODY, headers=nobody)
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    made = answer.json()
    mine = bearer(made["secret"])
    condition = api.get(f"/api/enrolments/{made['id']}/condition", headers=mine)
    assert condition.json() == {
        "condition": "waiting",
        "code": made["code"],
        "mac": STRANGER,
        "expires_at": made["expires_at"],
    }
    assert api.get(f"/api/enrolments/{made['id']}/condition", headers=nobody).status_code == 404
    assert api.get("/api/whoami", headers=mine).status_code == 401
    (view,) = api.get("/api/enrolments").json()
    assert (view["code"], view["hostname"], view["registered_hostname"], view["state"]) == (
        made["code"],
        "shelf-3[31m",
        None,
        "discovered",
    )
    assert view["hardware"]["threads"] == 4
    assert "secret" not in view
    assert api.post(f"/api/enrolments/{made['code']}/approve", headers=mine).status_code == 401
    approved = api.post(f"/api/enrolments/{made['code']}/approve")
    assert (approved.status_code, approved.json()["condition"], approved.json()["state"]) == (
        200,
        "approved",
        "installed",
    )
    assert api.get("/api/whoami", headers=mine).json()["mac"] == STRANGER
    report = {"mac": STRANGER, "state": "installed", "phase": "first-boot"}
    assert api.post("/api/state", json=report, headers=mine).status_code == 200
    assert api.post("/api/state", json={**report, "mac": CP}, headers=mine).status_code == 403
    assert api.post(f"/api/enrolments/{made['code']}/refuse").status_code == 409
    assert api.post("/api/enrolments/ZZZZ-ZZZZ/refuse").status_code == 404


def test_a_mac_of_the_registry_opens_nothing_either(api: TestClient) -> None:
    made = api.post("/api/enrolments", json={"mac": CP}, headers={"Authorization": ""}).json()
    assert api.get("/api/whoami", headers=bearer(made["secret"])).status_code == 401
    (view,) = api.get("/api/enrolments").json()
    assert (view["registered_hostname"], view["state"]) == ("cp-1", None)


def test_an_adoption_ends_the_token_that_the_machine_had(api: TestClient) -> None:
    before = api.post("/api/tokens", json={"name": "a", "scope": "machine", "mac": CP}).json()["token"]
    assert api.get("/api/whoami", headers=bearer(before)).status_code == 200
    made = api.post("/api/enrolments", json={"mac": CP}).json()
    api.post(f"/api/enrolments/{made['code']}/approve")
    assert api.get("/api/whoami", headers=bearer(before)).status_code == 401


@pytest.mark.parametrize(
    "wrong",
    [
        {"mac": "nothing"},
        {"mac": STRANGER, "hostname": "x" * 254},
        {"mac": STRANGER, "addresses": ["<script>"]},
        {"mac": STRANGER, "hardware": {"disks": ["x"] * 17}},
        {"mac": STRANGER, "hardware": {"anything": 1}},
        {"mac": STRANGER, "secret": "mine"},
    ],
)
def test_what_a_stranger_may_say_is_narrow(api: TestClient, wrong: dict[str, Any]) -> None:
    assert api.post("/api/enrolments", json=wrong).status_code == 422
    assert api.get("/api/enrolments").json() == []


def test_too_many_are_told_when_to_come_back(api: TestClient) -> None:
    for _ in range(10):
        assert api.post("/api/enrolments", json=BODY).status_code == 201
    answer = api.post("/api/enrolments", json=BODY)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "60")
    assert "ask to be adopted already" in answer.json()["detail"]
