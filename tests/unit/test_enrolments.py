# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines that ask to be adopted: in the store, and by the API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from kubestead.store import StateReport, Store, enrolments
from kubestead.store.enrolments import (
    DecidedError,
    NewEnrolment,
    TooManyEnrolmentsError,
    UnknownEnrolmentError,
)
from kubestead.store.schema import enrolments as table
from tests.unit.api_sample import CP, Files, bearer, serving

STRANGER = "52:54:00:77:00:99"
BODY = {
    "mac": STRANGER.upper(),
    "hostname": "shelf-3\x1b[31m",
    "addresses": ["10.77.0.99"],
    "hardware": {"cpu": "A Processor", "threads": 4, "disks": ["sda 1"], "gpus": []},
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store.at(tmp_path / "machines.db")) as store:
        yield store


def asked(store: Store, mac: str = STRANGER, peer: str = "10.77.0.99", **more: Any) -> tuple[Any, str]:
    return store.enrol(
        NewEnrolment(mac, "shelf-3", ("10.77.0.99",), {"threads": 4}, peer), **{"registered": False, **more}
    )


def age(store: Store, by: timedelta) -> None:
    """Let all enrolments be so much older."""
    with store._written() as connection:
        for each in connection.execute(sa.select(table)).all():
            older = {"created_at": each.created_at - by, "expires_at": each.expires_at - by}
            connection.execute(table.update().where(table.c.id == each.id).values(**older))


def test_the_secret_opens_nothing_until_a_person_agrees(store: Store) -> None:
    made, secret = asked(store)
    assert (made.condition, made.mac, made.addresses, made.hardware) == (
        "waiting",
        STRANGER,
        ("10.77.0.99",),
        {"threads": 4},
    )
    assert store.find_token(secret) is None
    record = store.machine(STRANGER)
    assert record is not None
    assert (record.state, record.message) == (
        "discovered",
        f"asks to be adopted: code {made.code}, from 10.77.0.99",
    )
    decided = store.decide(made.code.lower(), approve=True, actor="anna")
    assert (decided.condition, decided.decided_by) == ("approved", "anna")
    token = store.find_token(secret)
    assert token is not None
    assert (token.scope, token.mac, token.condition) == ("machine", STRANGER, "valid")
    record = store.machine(STRANGER)
    assert record is not None
    assert (record.state, record.message) == ("installed", "adopted by anna")
    assert [(each.kind, each.actor) for each in store.events()][-2:] == [
        ("enrolment", "anna"),
        ("transition", "anna"),
    ]


def test_a_decision_is_taken_once(store: Store) -> None:
    made, secret = asked(store)
    assert store.decide(made.code, approve=False, actor="anna").condition == "refused"
    events = len(store.events())
    assert store.decide(made.code, approve=False, actor="bert").decided_by == "anna"
    assert len(store.events()) == events
    with pytest.raises(
        DecidedError, match=f"{made.code} of {STRANGER} was refused: let the machine ask again"
    ):
        store.decide(made.code, approve=True, actor="bert")
    with pytest.raises(UnknownEnrolmentError, match="ZZZZ-ZZZZ"):
        store.decide("ZZZZ-ZZZZ", approve=True, actor="bert")
    assert store.find_token(secret) is None


def test_only_the_own_secret_tells_how_far_it_is(store: Store) -> None:
    made, secret = asked(store)
    other, others_secret = asked(store, "52:54:00:77:00:98")
    assert store.own_enrolment(made.id, others_secret) is None
    assert store.own_enrolment("0" * 32, secret) is None
    found = store.own_enrolment(other.id, others_secret)
    assert found is not None
    assert found.code == other.code


def test_after_a_day_it_has_expired_and_after_a_week_it_is_gone(store: Store) -> None:
    made, secret = asked(store)
    age(store, timedelta(hours=24))
    found = store.own_enrolment(made.id, secret)
    assert found is not None
    assert found.condition == "expired"
    with pytest.raises(DecidedError, match="has expired"):
        store.decide(made.code, approve=True, actor="anna")
    age(store, timedelta(days=7))
    again, _secret = asked(store)
    assert [each.id for each in store.enrolments()] == [again.id]


def test_adopting_one_refuses_others_of_its_mac_and_ends_its_older_tokens(store: Store) -> None:
    _record, older = store.create_token("older", "machine", mac=STRANGER)
    _record, elsewhere = store.create_token("elsewhere", "machine", mac=CP)
    first, _secret = asked(store)
    second, secret = asked(store)
    third, _secret = asked(store, CP)
    store.decide(second.code, approve=True, actor="anna")
    assert {each.id: each.condition for each in store.enrolments()} == {
        first.id: "refused",
        second.id: "approved",
        third.id: "waiting",
    }
    conditions = {}
    for name, each in (("older", older), ("new", secret), ("elsewhere", elsewhere)):
        token = store.find_token(each)
        assert token is not None
        conditions[name] = token.condition
    assert conditions == {"older": "revoked", "new": "valid", "elsewhere": "valid"}


@pytest.mark.parametrize(
    ("state", "after"),
    [
        (None, "installed"),
        ("approved", "installed"),
        ("failed", "installed"),
        ("provisioning", "provisioning"),
        ("ready", "ready"),
    ],
)
def test_what_becomes_of_a_machine_of_the_registry(store: Store, state: str | None, after: str) -> None:
    for each in {None: (), "ready": ("provisioning", "ready")}.get(state, (state,)):
        assert each
        store.record_state(StateReport(CP, each, initial="approved"))
    made, _secret = asked(store, CP, registered=True)
    before = store.machine(CP)
    assert (before.state if before else None) == state, "asking changes nothing"
    store.decide(made.code, approve=True, actor="anna")
    record = store.machine(CP)
    assert record is not None
    assert record.state == after


def test_nobody_fills_the_list(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enrolments, "MOST_A_MINUTE", 20)
    monkeypatch.setattr(enrolments, "MOST_WAITING", 21)
    for number in range(10):
        asked(store, f"52:54:00:00:00:{number:02x}")
    with pytest.raises(TooManyEnrolmentsError, match=r"10 from the address 10\.77\.0\.99 ask"):
        asked(store)
    for number in range(10, 20):
        asked(store, f"52:54:00:00:00:{number:02x}", peer="10.77.0.98")
    with pytest.raises(TooManyEnrolmentsError, match="within a minute"):
        asked(store, peer="10.77.0.97")
    age(store, timedelta(minutes=2))
    made, _secret = asked(store, peer="10.77.0.97")
    with pytest.raises(TooManyEnrolmentsError, match="21 machines ask to be adopted already"):
        asked(store, peer="10.77.0.96")
    store.decide(made.code, approve=False, actor="anna")
    asked(store, peer="10.77.0.96")


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


def test_moments_are_utc(store: Store) -> None:
    made, _secret = asked(store)
    assert made.expires_at - made.created_at == timedelta(hours=24)
    assert made.created_at.tzinfo == timezone.utc
