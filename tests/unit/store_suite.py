# SPDX-License-Identifier: GPL-3.0-or-later
"""What a state store does on every kind of database. The engines' own test files run this suite."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from kubestead.store import (
    AsyncStore,
    ClaimTakenError,
    ConflictError,
    IllegalTransitionError,
    StateReport,
    Store,
    StoreError,
    StoreUnavailableError,
    UnknownClaimError,
    UnknownTokenError,
)
from kubestead.store.database import open_engine
from kubestead.store.migrate import migrate, migrate_within
from kubestead.store.schema import metadata
from tests.unit.store_model import StoreModel

MAC = "52:54:00:77:00:11"
OTHER = "52:54:00:77:00:21"
OPEN_FOR_WRITING = {"kubestead_write": True}


def report(mac: str = MAC, state: str = "provisioning", **more: Any) -> StateReport:
    """A report about a machine that stands in the registry."""
    return StateReport(mac, state, **{"initial": "approved", **more})


def number(each: int) -> str:
    """A MAC by number."""
    return f"52:54:00:01:{each // 256:02x}:{each % 256:02x}"


def together(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Make calls at the same moment, each in a thread; give what they gave, or raised."""
    barrier = threading.Barrier(len(calls))

    def call(each: Callable[[], Any]) -> Any:
        barrier.wait()
        try:
            return each()
        except Exception as error:  # what it raised is the outcome
            return error

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(call, calls))


def agrees_with_model(url: str, examples: int) -> None:
    """Hold a store to the model; it is emptied each time."""
    engine = open_engine(url)
    with closing(Store(url)) as store:

        def empty() -> Store:
            with engine.connect().execution_options(**OPEN_FOR_WRITING) as connection, connection.begin():
                for table in reversed(metadata.sorted_tables):
                    connection.execute(table.delete())
            return store

        class Emptied(StoreModel):
            def __init__(self) -> None:
                super().__init__(empty)

        run_state_machine_as_test(
            Emptied,
            settings=settings(max_examples=examples, stateful_step_count=20, deadline=None, database=None),
        )


class StoreSuite:
    """Needs the fixture `url`: of an empty database."""

    @pytest.fixture
    def store(self, url: str) -> Iterator[Store]:
        with closing(Store(url)) as store:
            yield store

    @pytest.fixture
    def stores(self, url: str) -> Iterator[list[Store]]:
        """Several on one database, as several instances of the API have them."""
        stores = [Store(url) for _ in range(3)]
        yield stores
        for each in stores:
            each.close()

    # Reports

    def test_a_report_becomes_the_state_and_an_event(self, store: Store) -> None:
        before = datetime.now(timezone.utc)
        store.record_state(
            report(phase="prepare", progress=10, message="packages", correlation_id="run-1", actor="ansible")
        )
        given = store.record_state(
            report(
                state="failed",
                phase="prepare",
                error="no space",
                features={"gpu": "none"},
                address="10.0.0.7",
            )
        )
        record = store.machines()[MAC]
        assert record == given == store.machine(MAC) == store.states()[MAC]
        assert (record.state, record.phase, record.progress) == ("failed", "prepare", None)
        assert (record.message, record.error, record.features) == (None, "no space", {"gpu": "none"})
        assert (record.version, record.address, record.locked) == (2, "10.0.0.7", False)
        assert before <= record.updated_at <= datetime.now(timezone.utc)
        assert record.updated_at.utcoffset() == timedelta(0)
        first, second = store.events()
        assert (first.kind, first.state, first.previous_state) == ("transition", "provisioning", None)
        assert (first.progress, first.message, first.features) == (10, "packages", {})
        assert (first.correlation_id, first.actor) == ("run-1", "ansible")
        assert (second.kind, second.state, second.previous_state) == ("transition", "failed", "provisioning")
        assert (second.error, second.features, second.correlation_id) == ("no space", {"gpu": "none"}, None)
        assert second.at == record.updated_at == record.since
        assert store.machine(OTHER) is None
        assert store.machines([OTHER, MAC]) == {MAC: record}
        assert store.machines([]) == {}

    def test_the_same_state_again_is_progress(self, store: Store) -> None:
        first = store.record_state(report(progress=10))
        second = store.record_state(report(progress=20))
        assert (second.since, second.version) == (first.since, first.version)
        assert second.deadline_at is not None
        assert first.deadline_at is not None
        assert second.deadline_at > first.deadline_at, "each report renews the deadline"
        assert [(event.kind, event.progress) for event in store.events()] == [
            ("transition", 10),
            ("report", 20),
        ]

    def test_any_text_comes_back_as_it_was(self, store: Store) -> None:
        text = 'it\'s a "test" \\ 100% :x %(y)s {} \u2028 \U0001f600 é\n\t\x01'
        record = store.record_state(report(message=text, phase=text, error=text, features={"gpu": text}))
        assert store.machine(MAC) == record
        assert (record.message, record.phase, record.error, record.features["gpu"]) == (text,) * 4
        assert store.events()[0].features == {"gpu": text}
        assert store.note("registry", text).message == store.recent_events()[0].message == text

    def test_a_nul_is_no_text_to_any_database(self, store: Store) -> None:
        given = report(message="a\0\0b \\u0000", features={"gpu": "\0"})
        store.record_state(given)
        record = store.machine(MAC)
        assert record is not None
        assert record.message == store.events()[0].message == "a\ufffd\ufffdb \\u0000"
        assert record.features == {"gpu": "\ufffd"}

    def test_features_keep_their_status_until_they_are_named_again(self, store: Store) -> None:
        store.record_state(report(features={"gpu": "installing", "nfs": "ok"}))
        store.record_state(report(features={"gpu": "ok"}))
        assert store.record_state(report(state="ready")).features == {"gpu": "ok", "nfs": "ok"}
        store.record_state(report(OTHER))
        assert store.machines()[MAC].features == {"gpu": "ok", "nfs": "ok"}
        assert store.machines()[OTHER].features == {}

    def test_what_the_lifecycle_forbids_is_refused_and_leaves_no_trace(self, store: Store) -> None:
        with pytest.raises(IllegalTransitionError, match="a machine that is discovered cannot go to ready"):
            store.record_state(StateReport(MAC, "ready", initial="discovered"))
        assert store.machines() == {}
        record = store.record_state(StateReport(MAC, "discovered"))
        with pytest.raises(IllegalTransitionError, match="only to approved, retired") as refused:
            store.record_state(report(state="installing", features={"gpu": "ok"}, initial="discovered"))
        assert refused.value.current == record == store.machine(MAC)
        with pytest.raises(IllegalTransitionError, match='"bored" is not a state'):
            store.record_state(report(state="bored"))
        assert store.last_event_id() == store.events()[0].id

    def test_whoever_writes_a_machine_into_the_registry_has_approved_it(self, store: Store) -> None:
        store.record_state(StateReport(MAC, "discovered"))
        with pytest.raises(IllegalTransitionError):
            store.record_state(StateReport(MAC, "provisioning", initial="discovered"))
        assert (
            store.record_state(StateReport(MAC, "provisioning", initial="approved")).state == "provisioning"
        )

    def test_a_report_that_cannot_be_kept_leaves_no_trace(self, store: Store) -> None:
        record = store.record_state(report(progress=100))
        with pytest.raises(StoreUnavailableError):
            store.record_state(report(state="failed", progress=101))
        assert store.machine(MAC) == record
        assert len(store.events()) == 1

    # Data

    def test_a_datum_is_replaced_and_keeps_its_type(self, store: Store) -> None:
        values: tuple[Any, ...] = ({"ü": [1, 2.5, None, True, "\0"]}, "text", 0, None, [], "x" * 256 * 1024)
        for value in values:
            assert store.put_datum(MAC, "k", value).value == value
            datum = store.datum(MAC, "k")
            assert datum is not None
            assert datum.value == value
            assert type(datum.value) is type(value)
        assert store.datum(MAC, "other") is None
        assert store.datum(OTHER, "k") is None
        assert store.states() == {}, "a machine that has only stored data has no state"
        assert store.machines()[MAC].version == 0
        store.put_datum(MAC, "a", 1)
        assert [(datum.key, datum.value) for datum in store.data(MAC)] == [("a", None), ("k", None)]
        assert store.data(OTHER) == []

    def test_data_change_nothing_of_a_machine(self, store: Store) -> None:
        record = store.record_state(report())
        store.put_datum(MAC, "k", 1)
        assert store.machine(MAC) == record

    # Actions

    def test_an_operator_takes_a_machine_through_an_installation(self, store: Store) -> None:
        store.record_state(StateReport(MAC, "discovered", message="hello"))
        approved = store.act(MAC, "approve", actor="ada", correlation_id="c-1")
        assert (approved.state, approved.message, approved.version) == ("approved", None, 2)
        wanted = store.act(MAC, "reinstall", actor="ada", expected_version=2)
        assert wanted.state == "install_pending"
        assert wanted.desired_install_id is not None
        assert wanted.completed_install_id is None
        for state in ("installing", "install_pending", "installing"):
            assert store.record_state(report(state=state)).install_attempts == 0, "a report is no attempt"
        done = store.record_state(report(state="installed"))
        assert done.completed_install_id == done.desired_install_id == wanted.desired_install_id
        again = store.act(MAC, "reinstall", actor="ada")
        assert again.desired_install_id != done.desired_install_id == again.completed_install_id
        assert again.install_attempts == 0
        withdrawn = store.act(MAC, "approve", actor="bob")
        assert withdrawn.desired_install_id == withdrawn.completed_install_id, (
            "nothing opens the installer now"
        )
        assert store.act(MAC, "retire", actor="bob").state == "retired"
        event = store.events()[1]
        assert (event.actor, event.correlation_id, event.state) == ("ada", "c-1", "approved")

    def test_a_machine_that_was_never_seen_counts_as_what_the_registry_says(self, store: Store) -> None:
        with pytest.raises(IllegalTransitionError, match="a machine that is discovered"):
            store.act(MAC, "reinstall", actor="ada", initial="discovered")
        assert store.act(MAC, "reinstall", actor="ada", initial="approved", expected_version=0).version == 1

    def test_what_is_so_already_is_not_written(self, store: Store) -> None:
        first = store.act(MAC, "approve", actor="ada", initial="approved")
        assert first.state == "approved"
        assert store.act(MAC, "approve", actor="ada") == first
        assert store.act(MAC, "unlock", actor="ada") == first
        assert store.act(OTHER, "unlock", actor="ada").version == 0
        assert store.machine(OTHER) is None
        assert len(store.events()) == 1

    def test_a_lock_forbids_installations(self, store: Store) -> None:
        assert store.act(MAC, "lock", actor="ada").state is None
        assert store.record_state(report()).locked
        with pytest.raises(IllegalTransitionError, match="unlock it first"):
            store.act(MAC, "reinstall", actor="ada")
        assert not store.act(MAC, "unlock", actor="ada").locked
        with pytest.raises(IllegalTransitionError, match=r"the registry has locked the machine"):
            store.act(MAC, "reinstall", actor="ada", registry_locked=True)
        store.act(MAC, "reinstall", actor="ada")
        store.act(MAC, "lock", actor="ada")
        with pytest.raises(IllegalTransitionError, match="locked"):
            store.act(MAC, "reinstall", actor="ada")
        with pytest.raises(IllegalTransitionError, match="locked"):
            store.record_state(report(state="installing"))
        kinds = [event.kind for event in store.events()]
        assert kinds == ["lock", "transition", "unlock", "transition", "lock"]

    def test_an_action_that_there_is_not(self, store: Store) -> None:
        with pytest.raises(ValueError, match='"explode" is no action, expected one of approve'):
            store.act(MAC, "explode", actor="ada")

    def test_who_looked_before_another_changed_it_is_told(self, store: Store) -> None:
        seen = store.record_state(report())
        store.record_state(report(progress=50))
        locked = store.act(MAC, "lock", actor="ada", expected_version=seen.version)
        with pytest.raises(
            ConflictError, match=r"provisioning and locked, version 2, not 1; look again"
        ) as refused:
            store.act(MAC, "retire", actor="bob", expected_version=seen.version)
        assert refused.value.current == locked

    # Deadlines

    def test_a_missed_deadline_fails_the_machine_with_what_it_last_said(self, store: Store) -> None:
        record = store.record_state(report(phase="prepare", progress=40, message="loading modules"))
        store.record_state(report(OTHER, "installed"))
        assert record.deadline_at == record.updated_at + timedelta(minutes=30)
        assert store.expire(record.deadline_at - timedelta(microseconds=1)) == []
        (failed,) = store.expire(record.deadline_at)
        assert failed.error == "no report for 30 min in provisioning; the last said: loading modules"
        assert (failed.state, failed.phase, failed.progress) == ("failed", "prepare", 40)
        assert (failed.deadline_at, failed.version) == (None, 2)
        assert store.machine(MAC) == failed
        (event,) = store.recent_events(limit=1)
        assert (event.kind, event.previous_state, event.error) == ("deadline", "provisioning", failed.error)
        assert store.expire(record.deadline_at + timedelta(days=9)) == []
        assert store.record_state(report(state="ready")).state == "ready", "its late success counts"

    def test_deadlines_can_be_set(self, url: str) -> None:
        with closing(Store(url, {"ready": 5, "installed": 0})) as store:
            assert store.record_state(report(OTHER, "installed")).deadline_at is None
            assert store.record_state(report()).deadline_at is None
            record = store.record_state(report(state="ready", error="a last word"))
            (failed,) = store.expire(record.updated_at + timedelta(seconds=7))
            assert failed.error == "no report for 7 s in ready; the last said: a last word"

    # Events

    def test_events_are_read_by_place_and_machine(self, store: Store) -> None:
        for progress in range(5):
            store.record_state(report(progress=progress))
            store.record_state(report(OTHER, progress=progress))
        everything = store.events()
        assert [event.id for event in everything] == sorted(event.id for event in everything)
        assert store.events(after=everything[3].id, limit=2) == everything[4:6]
        assert [event.progress for event in store.events(mac=OTHER)] == [0, 1, 2, 3, 4]
        assert store.recent_events(limit=3) == everything[:-4:-1]
        assert store.recent_events(MAC, 1) == [everything[-2]]
        assert store.last_event_id() == everything[-1].id
        assert store.changes(everything[7].id) == (everything[8:], everything[-1].id)
        assert store.changes(store.last_event_id()) == ([], store.last_event_id())

    def test_many_changes_come_in_parts(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("kubestead.store.store.CHANGES_AT_ONCE", 4)
        store.write([report(progress=progress) for progress in range(10)])
        found, last = [], 0
        while True:
            part, last = store.changes(last)
            if not part:
                break
            found.append([event.progress for event in part])
        assert found == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]

    def test_a_note_is_an_event(self, store: Store) -> None:
        event = store.note("registry", "2 machines added", mac=OTHER, actor="ada", correlation_id="c")
        assert store.events() == [event]
        assert (event.kind, event.mac, event.actor, event.correlation_id) == ("registry", OTHER, "ada", "c")
        assert store.machines() == {}

    def test_an_empty_store(self, store: Store) -> None:
        assert (store.last_event_id(), store.changes(0), store.machines()) == (0, ([], 0), {})
        assert (store.tokens(), store.claims(), store.claim("c")) == ([], [], None)
        store.check()

    # Tokens

    def test_tokens(self, store: Store, url: str) -> None:
        soon = datetime.now(timezone.utc) + timedelta(hours=1)
        operator, secret = store.create_token("laptop", "operator", actor="ada")
        machine, machine_secret = store.create_token("cp-1", "machine", MAC, expires_at=soon)
        _reader, read_secret = store.create_token("wall", "read")
        assert [each[:4] for each in (secret, machine_secret, read_secret)] == ["kso_", "ksm_", "ksr_"]
        assert store.find_token(secret) == operator
        assert store.find_token(machine_secret) == machine
        assert machine.expires_at == soon
        assert store.find_token(secret + "x") is None
        assert store.find_token("") is None
        assert store.find_token("\udcff") is None
        assert [token.name for token in store.tokens()] == ["laptop", "cp-1", "wall"]
        assert store.events()[0].message == f"token {operator.id} (laptop, operator) made"
        assert store.events()[1].mac == MAC
        with open_engine(url).connect() as connection:
            everything = str(
                [connection.execute(sa.select(table)).all() for table in metadata.tables.values()]
            )
        assert not [each for each in (secret, machine_secret, read_secret) if each[4:] in everything]

    def test_a_revoked_token_opens_nothing_at_once(self, store: Store) -> None:
        token, secret = store.create_token("laptop", "operator")
        assert store.find_token(secret) == token
        assert token.condition == "valid"
        revoked = store.revoke_token(token.id, "ada")
        assert store.find_token(secret) == revoked
        assert revoked.condition == "revoked"
        assert store.revoke_token(token.id, "ada") == revoked
        assert [event.kind for event in store.events()] == ["token", "token"]
        with pytest.raises(UnknownTokenError, match="there is no token 99"):
            store.revoke_token(99, "ada")

    def test_a_revoked_token_is_forgotten_by_other_instances(
        self, stores: list[Store], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        token, secret = stores[0].create_token("laptop", "operator")
        assert stores[1].find_token(secret) == token
        stores[0].revoke_token(token.id)
        monkeypatch.setattr("kubestead.store.store.TOKEN_MEMORY_SECONDS", 0)
        found = stores[1].find_token(secret)
        assert found is not None
        assert found.condition == "revoked"

    def test_an_expired_token_is_known_as_such(self, store: Store) -> None:
        past = datetime.now(timezone.utc) - timedelta(microseconds=1)
        _token, secret = store.create_token("old", "read", expires_at=past)
        found = store.find_token(secret)
        assert found is not None
        assert found.condition == "expired"

    def test_the_use_of_a_token_is_noted(self, store: Store) -> None:
        token, secret = store.create_token("laptop", "operator")
        _unused, _secret = store.create_token("other", "read")
        store.find_token(secret)
        store.expire()
        first, second = store.tokens()
        assert first.last_used_at is not None
        assert first.last_used_at >= token.created_at
        assert second.last_used_at is None

    @pytest.mark.parametrize(
        ("scope", "mac"), [("root", None), ("operator", MAC), ("read", MAC), ("machine", None)]
    )
    def test_tokens_that_make_no_sense(self, store: Store, scope: str, mac: str | None) -> None:
        with pytest.raises(ValueError, match="scope"):
            store.create_token("t", scope, mac)
        assert store.tokens() == []

    # Claims

    def test_a_claim_is_taken_once_and_completed_for_good(self, store: Store) -> None:
        with pytest.raises(UnknownClaimError, match="nobody has taken the claim homelab"):
            store.complete_claim("homelab", "cp-1", 1, {})
        claim = store.take_claim("homelab", "cp-1", actor="machine")
        assert (claim.epoch, claim.state, claim.new) == (1, "claimed", True)
        again = store.take_claim("homelab", "cp-1")
        assert (again, again.new) == (claim, False)
        with pytest.raises(ClaimTakenError, match=r"cp-1 holds the claim homelab \(epoch 1\)") as refused:
            store.take_claim("homelab", "cp-2")
        assert refused.value.claim == claim
        for holder, epoch in (("cp-2", 1), ("cp-1", 2)):
            with pytest.raises(ClaimTakenError):
                store.complete_claim("homelab", holder, epoch, {})
        done = store.complete_claim("homelab", "cp-1", 1, {"endpoint": "10.0.0.11:6443"})
        assert (done.state, done.data) == ("initialized", {"endpoint": "10.0.0.11:6443"})
        assert done.initialized_at is not None
        assert store.complete_claim("homelab", "cp-1", 1, {"endpoint": "10.0.0.11:6443"}) == done
        with pytest.raises(ClaimTakenError, match="for good"):
            store.complete_claim("homelab", "cp-1", 1, {"endpoint": "elsewhere"})
        assert store.take_claim("homelab", "cp-1") == store.claim("homelab") == done
        assert store.claims() == [done]
        assert [event.message for event in store.events()] == [
            "claim homelab taken: cp-1, epoch 1",
            "claim homelab initialized: cp-1, epoch 1",
        ]

    def test_a_claim_whose_work_is_no_more_is_free_again(self, store: Store) -> None:
        assert store.release_claim("homelab", 1) is None
        store.take_claim("homelab", "cp-1")
        store.force_claim("homelab", "cp-2")
        with pytest.raises(ClaimTakenError, match="taken anew since: cp-2 holds it in epoch 2, not 1"):
            store.release_claim("homelab", 1)
        released = store.release_claim("homelab", 2, actor="reset")
        assert released is not None
        assert released.holder == "cp-2"
        assert store.claim("homelab") is None
        assert store.events()[-1].message == "claim homelab released: cp-2, epoch 2"
        assert store.take_claim("homelab", "cp-3").new

    def test_force_begins_a_new_epoch(self, store: Store) -> None:
        store.take_claim("homelab", MAC)
        store.complete_claim("homelab", MAC, 1, {"x": 1})
        forced = store.force_claim("homelab", OTHER, "ada")
        assert (forced.holder, forced.epoch, forced.state, forced.data) == (OTHER, 2, "claimed", None)
        assert store.claim("homelab") == forced
        with pytest.raises(ClaimTakenError):
            store.complete_claim("homelab", MAC, 1, {"x": 2})
        assert store.complete_claim("homelab", OTHER, 2, None).state == "initialized"
        assert [(event.mac, event.actor) for event in store.events()][2] == (OTHER, "ada")
        assert store.force_claim("fresh", OTHER, "ada").epoch == 1

    # Many at once

    def test_of_many_who_act_on_what_they_saw_one_wins(self, stores: list[Store]) -> None:
        seen = stores[0].record_state(report())
        outcomes = together(
            [
                partial(store.act, MAC, "reinstall", actor="ada", expected_version=seen.version)
                for store in stores * 4
            ]
        )
        assert Counter(type(each) for each in outcomes)[ConflictError] == 11
        (winner,) = (each for each in outcomes if not isinstance(each, Exception))
        assert stores[1].machine(MAC) == winner
        assert len(stores[2].events()) == 2

    def test_of_contradicting_reports_one_wins(self, stores: list[Store]) -> None:
        stores[0].record_state(report(state="install_pending"))
        wanted = ["installing", "retired"] * 6
        outcomes = together(
            [
                partial(store.record_state, report(state=state))
                for store, state in zip(stores * 4, wanted, strict=True)
            ]
        )
        history = [(event.previous_state, event.state) for event in stores[0].events()[1:]]
        assert all(before == after for (_, before), (after, _) in zip(history, history[1:], strict=False))
        assert len(history) == sum(not isinstance(each, Exception) for each in outcomes)
        last = stores[0].machine(MAC)
        assert last is not None
        assert last.state == history[-1][1] == "retired"

    def test_a_claim_has_one_winner(self, stores: list[Store]) -> None:
        calls = [
            partial(store.take_claim, "homelab", f"cp-{place}") for place, store in enumerate(stores * 5)
        ]
        outcomes = together(calls)
        (winner,) = (each for each in outcomes if not isinstance(each, Exception))
        assert {each.claim.holder for each in outcomes if isinstance(each, ClaimTakenError)} == {
            winner.holder
        }
        assert Counter(type(each) for each in outcomes)[ClaimTakenError] == 14
        assert len(stores[0].events()) == 1

    def test_a_deadline_passes_once(self, stores: list[Store]) -> None:
        stores[0].write([report(number(each)) for each in range(40)])
        later = datetime.now(timezone.utc) + timedelta(hours=1)
        outcomes = together([partial(store.expire, later) for store in stores * 3])
        assert Counter(record.mac for each in outcomes for record in each) == {
            number(each): 1 for each in range(40)
        }
        assert Counter(event.kind for event in stores[0].events()) == {"transition": 40, "deadline": 40}

    def test_no_reader_misses_an_event(self, stores: list[Store]) -> None:
        done = threading.Event()

        def follow(store: Store) -> list[int]:
            seen: list[int] = []
            last = 0
            while True:
                ended = done.is_set()
                found, last = store.changes(last)
                seen += [event.id for event in found]
                if ended and not found:
                    return seen

        def write(store: Store, each: int) -> None:
            for progress in range(40):
                store.record_state(report(number(each), progress=progress))

        with ThreadPoolExecutor(8) as threads:
            readers = [threads.submit(follow, store) for store in stores[:2]]
            writers = [threads.submit(write, store, each) for each, store in enumerate(stores * 2)]
            try:
                for writer in writers:
                    writer.result()
            finally:
                done.set()
            everything = [event.id for event in stores[0].events()]
            assert len(everything) == 240
            for reader in readers:
                assert reader.result() == everything
        assert {record.progress for record in stores[0].machines().values()} == {39}

    def test_many_open_a_new_store_at_once(self, url: str) -> None:
        opened = together([lambda: Store(url)] * 6)
        assert [each for each in opened if isinstance(each, Exception)] == []
        opened[0].record_state(report())
        assert all(store.last_event_id() == 1 for store in opened)
        for store in opened:
            store.close()

    # Group commit

    def test_each_of_many_gets_its_own_answer(self, store: Store) -> None:
        async def everything() -> list[Any]:
            shared = AsyncStore(store)
            calls: list[Any] = [
                shared.record_state(report(number(each), progress=each)) for each in range(60)
            ]
            calls += [shared.record_state(report(number(1), "ready", progress=100))]
            calls += [shared.record_state(StateReport(OTHER, "ready"))]  # never seen: discovered
            calls += [
                shared.put_datum(number(200), "k", {"n": 1}),
                shared.put_datum(number(1), "k", object()),
            ]
            calls += [shared.record_state(report(number(2), progress=101))]  # the database refuses it
            answers = await asyncio.gather(*calls, return_exceptions=True)
            await shared.close()
            return answers

        answers = asyncio.run(everything())
        assert [record.progress for record in answers[:60]] == list(range(60))
        assert answers[60].state == "ready"
        assert isinstance(answers[61], IllegalTransitionError)
        assert answers[62].value == {"n": 1}
        assert isinstance(answers[63], TypeError)
        assert isinstance(answers[64], StoreUnavailableError)
        found = store.machines()
        assert found[number(0)] == answers[0]
        assert found[number(1)] == answers[60]
        assert found[number(2)] == answers[2]
        assert OTHER not in found
        assert len(store.events()) == 61
        assert store.datum(number(200), "k") is not None

    def test_reports_of_one_machine_keep_their_order(self, store: Store) -> None:
        async def everything() -> None:
            shared = AsyncStore(store)
            await asyncio.gather(*(shared.record_state(report(progress=each)) for each in range(100)))
            await shared.close()

        asyncio.run(everything())
        assert [event.progress for event in store.events(mac=MAC)] == list(range(100))

    def test_data_of_many_are_kept(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        sizes: list[int] = []
        write = store.write

        def counted(operations: Sequence[Any]) -> list[Any]:
            sizes.append(len(operations))
            return write(operations)

        monkeypatch.setattr(store, "write", counted)

        async def everything() -> None:
            shared = AsyncStore(store)
            await asyncio.gather(*(shared.put_datum(number(each), "k", "x" * 1000) for each in range(100)))
            await shared.close()

        asyncio.run(everything())
        assert sizes == [32, 32, 32, 4], "a batch is not larger than memory allows"
        assert len(store.machines()) == 100

    def test_a_caller_that_goes_away_disturbs_nobody(self, store: Store) -> None:
        async def everything() -> Any:
            shared = AsyncStore(store)
            leaving = asyncio.ensure_future(shared.record_state(report(OTHER)))
            staying = asyncio.ensure_future(shared.record_state(report()))
            await asyncio.sleep(0)
            leaving.cancel()
            record = await staying
            await shared.close()
            return record

        assert asyncio.run(everything()) == store.machine(MAC)

    def test_tokens_are_found_from_the_event_loop(self, store: Store) -> None:
        token, secret = store.create_token("laptop", "operator")

        async def everything() -> list[Any]:
            shared = AsyncStore(store)
            found = [await shared.find_token(secret), await shared.find_token(secret)]
            found += [await shared.find_token("kso_wrong")]
            await shared.close()
            return found

        assert asyncio.run(everything()) == [token, token, None]

    # The schema

    def test_the_migrations_make_the_tables_of_the_code(self, store: Store, url: str) -> None:
        with open_engine(url).connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_server_default": True})
            assert compare_metadata(context, metadata) == []

    def test_a_store_of_the_first_schema_is_taken_along(self, url: str) -> None:
        engine = open_engine(url)
        at = datetime(2026, 1, 1, tzinfo=timezone.utc)
        with engine.connect().execution_options(**OPEN_FOR_WRITING) as connection, connection.begin():
            migrate_within(connection, "0001")
            insert = (
                "INSERT INTO machines (mac, state, message, updated_at) VALUES (:mac, :state, :message, :at)"
            )
            machines: list[dict[str, Any]] = [
                {"mac": MAC, "state": "provisioning", "message": "x", "at": at + timedelta(hours=3)},
                {"mac": OTHER, "state": "ready", "message": None, "at": at},
                {"mac": number(1), "state": None, "message": None, "at": at},
            ]
            moment = sa.bindparam("at", type_=metadata.tables["events"].c.at.type)
            connection.execute(sa.text(insert).bindparams(moment), machines)
            insert = "INSERT INTO events (mac, at, state, features) VALUES (:mac, :at, :state, '{}')"
            for hour, state in enumerate(["ready", "provisioning", "provisioning", "provisioning"]):
                row = {"mac": MAC, "at": at + timedelta(hours=hour), "state": state}
                connection.execute(sa.text(insert).bindparams(moment), row)
            connection.execute(
                sa.text(
                    "INSERT INTO machine_data (mac, key, value, updated_at) VALUES (:mac, 'k', '[1]', :at)"
                ).bindparams(moment),
                {"mac": number(1), "at": at},
            )
        engine.dispose()
        before = datetime.now(timezone.utc)
        with closing(Store(url)) as store:
            record = store.machines()[MAC]
            assert (record.state, record.message, record.version) == ("provisioning", "x", 1)
            assert record.since == at + timedelta(hours=1)
            assert record.deadline_at is not None
            assert record.deadline_at - timedelta(seconds=1800) >= before, "a whole deadline from now on"
            assert (store.machines()[OTHER].since, store.machines()[OTHER].deadline_at) == (at, None)
            assert store.machines()[number(1)].version == 0
            datum = store.datum(number(1), "k")
            assert datum is not None
            assert datum.value == [1]
            events = store.events()
            assert [event.kind for event in events] == ["transition", "transition", "report", "report"]
            assert [event.previous_state for event in events] == [
                None,
                "ready",
                "provisioning",
                "provisioning",
            ]
            assert store.note("registry", "x").id == 5
            store.record_state(report(state="ready"))
            assert store.last_event_id() == 6

    def test_a_database_of_a_newer_program_is_refused(self, store: Store, url: str) -> None:
        with open_engine(url).begin() as connection:
            connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
        with pytest.raises(StoreError, match=r"schema 9999.*newer Kubestead"):
            Store(url)

    def test_a_database_of_others_is_refused(self, url: str) -> None:
        engine = open_engine(url)
        with engine.begin() as connection:
            connection.execute(sa.text("CREATE TABLE photos (name TEXT)"))
        with pytest.raises(StoreError, match="tables that Kubestead has not made"):
            Store(url)
        with engine.connect() as connection:
            assert sa.inspect(connection).get_table_names() == ["photos"]

    def test_a_failed_migration_leaves_nothing(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        def no_index(*_arguments: object, **_options: object) -> None:
            raise RuntimeError("power cut")

        engine = open_engine(url)
        monkeypatch.setattr("alembic.op.create_index", no_index)
        with pytest.raises(RuntimeError):
            migrate(engine)
        with engine.connect() as connection:
            assert sa.inspect(connection).get_table_names() == []
        monkeypatch.undo()
        with closing(Store(url)) as store:
            assert store.machines() == {}
