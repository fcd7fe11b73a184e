# SPDX-License-Identifier: GPL-3.0-or-later
"""What a state store does about machines that ask to be adopted, on every kind of database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta, timezone
from typing import Any

import pytest
import sqlalchemy as sa

from kubestead.store import StateReport, Store, enrolments
from kubestead.store.enrolments import (
    DecidedError,
    NewEnrolment,
    TooManyEnrolmentsError,
    UnknownEnrolmentError,
)
from kubestead.store.schema import enrolments as table
from tests.unit.api_sample import CP

STRANGER = "52:54:00:77:00:99"


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


class EnrolmentsSuite:
    """Needs the fixture `url`: of an empty database."""

    @pytest.fixture
    def store(self, url: str) -> Iterator[Store]:
        with closing(Store(url)) as store:
            yield store

    def test_the_secret_opens_nothing_until_a_person_agrees(self, store: Store) -> None:
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

    def test_a_decision_is_taken_once(self, store: Store) -> None:
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

    def test_only_the_own_secret_tells_how_far_it_is(self, store: Store) -> None:
        made, secret = asked(store)
        other, others_secret = asked(store, "52:54:00:77:00:98")
        assert store.own_enrolment(made.id, others_secret) is None
        assert store.own_enrolment("0" * 32, secret) is None
        found = store.own_enrolment(other.id, others_secret)
        assert found is not None
        assert found.code == other.code

    def test_after_a_day_it_has_expired_and_after_a_week_it_is_gone(self, store: Store) -> None:
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

    def test_adopting_one_refuses_others_of_its_mac_and_ends_its_older_tokens(self, store: Store) -> None:
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
    def test_what_becomes_of_a_machine_of_the_registry(
        self, store: Store, state: str | None, after: str
    ) -> None:
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

    def test_nobody_fills_the_list(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
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

    def test_moments_are_utc(self, store: Store) -> None:
        made, _secret = asked(store)
        assert made.expires_at - made.created_at == timedelta(hours=24)
        assert made.created_at.tzinfo == timezone.utc
