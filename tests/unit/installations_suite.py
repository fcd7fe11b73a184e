# SPDX-License-Identifier: GPL-3.0-or-later
"""What a state store does about installations, on every kind of database."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from kubestead.store import (
    ConflictError,
    Handout,
    IllegalTransitionError,
    InstallReport,
    InstallTokenError,
    MachineRecord,
    StateReport,
    Store,
    StoreUnavailableError,
    installations,
)
from kubestead.store.database import open_engine
from kubestead.store.migrate import migrate_within
from kubestead.store.schema import metadata
from kubestead.store.tokens import digest, new_secret
from tests.unit.store_suite import MAC, OPEN_FOR_WRITING, OTHER, number, together

LOCAL = "local"


class Clock:
    """Time as the store sees it, which goes on when it is told to."""

    def __init__(self) -> None:
        """Begin with the real time."""
        self.now = datetime.now(timezone.utc)

    def __call__(self) -> datetime:
        """The time."""
        return self.now

    def goes_on(self, **more: float) -> None:
        """Let time pass."""
        self.now += timedelta(**more)


def boot(store: Store, **more: Any) -> Handout:
    """A machine of the registry asks what to boot."""
    return store.hand_out(MAC, **{"registered": True, **more})


def secret_of(store: Store) -> str:
    """The installer's token, as an answer file has it."""
    record = store.machine(MAC)
    assert record is not None
    secret = new_secret("install")
    store.keep_install_token(MAC, str(record.desired_install_id), record.install_attempts, digest(secret))
    return secret


def begin(store: Store, action: str = "install") -> str:
    """An installation is asked for and handed out."""
    store.act(MAC, action, actor="ada", initial="approved")
    assert boot(store).action == "install"
    return secret_of(store)


def says(store: Store, secret: str, state: str = "installing", **more: Any) -> MachineRecord:
    """The installer reports."""
    return store.install_report(secret, InstallReport(state, **more))


class InstallationsSuite:
    """Needs the fixture `url`: of an empty database."""

    @pytest.fixture
    def store(self, url: str) -> Iterator[Store]:
        with closing(Store(url)) as store:
            yield store

    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> Clock:
        clock = Clock()
        monkeypatch.setattr(installations, "moment_now", clock)
        return clock

    # Asking for an installation

    def test_a_new_machine_is_installed_and_its_disk_not_overwritten(self, store: Store) -> None:
        wanted = store.act(MAC, "install", actor="ada", initial="approved")
        assert (wanted.state, wanted.overwrite, wanted.install_attempts) == ("install_pending", False, 0)
        assert wanted.is_to_be_installed
        assert store.act(MAC, "install", actor="bob") == wanted, "asked for again, it is the same one"
        assert len(store.events()) == 1

    def test_an_installation_under_way_is_not_begun_anew(self, store: Store) -> None:
        secret = begin(store)
        before = store.machine(MAC)
        assert store.act(MAC, "install", actor="bob") == before
        says(store, secret, phase="download")

    @pytest.mark.parametrize("state", ["installed", "provisioning", "ready"])
    def test_what_has_a_system_is_only_reinstalled(self, store: Store, state: str) -> None:
        for each in ("installed", "provisioning", "ready"):
            store.record_state(StateReport(MAC, each, initial="approved"))
            if each == state:
                break
        for _ in range(2):
            with pytest.raises(IllegalTransitionError, match=r"has a system already.*ask for `reinstall`"):
                store.act(MAC, "install", actor="ada")
            store.act(MAC, "rescue", actor="ada")  # nor by this detour
        again = store.act(MAC, "reinstall", actor="ada")
        assert (again.overwrite, again.is_to_be_installed) == (True, True)

    def test_what_we_have_installed_is_only_reinstalled(self, store: Store) -> None:
        secret = begin(store)
        says(store, secret, "installed")
        store.record_state(StateReport(MAC, "failed", error="no space"))
        with pytest.raises(IllegalTransitionError, match="reinstall"):
            store.act(MAC, "install", actor="ada")

    # The boot

    def test_without_a_wish_nothing_is_written(self, store: Store) -> None:
        assert boot(store) == Handout(LOCAL, "no installation is asked for")
        store.record_state(StateReport(MAC, "installed", initial="approved"))
        before = store.machine(MAC)
        assert boot(store).action == LOCAL
        assert store.machine(MAC) == before
        assert len(store.events()) == 1

    def test_an_attempt_is_counted_when_it_is_handed_out(self, store: Store, clock: Clock) -> None:
        wanted = store.act(MAC, "install", actor="ada", initial="approved")
        first = boot(store)
        assert first.action == "install"
        assert (first.install_id, first.attempt, first.overwrite) == (wanted.desired_install_id, 1, False)
        record = store.machine(MAC)
        assert record is not None
        assert (record.state, record.phase, record.progress) == ("installing", "boot", 0)
        assert record.handed_out_at == clock.now
        assert record.deadline_at == clock.now + timedelta(hours=1)
        clock.goes_on(seconds=10)
        assert boot(store) == first, "firmware may ask twice"
        clock.goes_on(seconds=0.1)
        assert boot(store).attempt == 2

    def test_after_three_attempts_it_has_failed(self, store: Store, clock: Clock) -> None:
        secret = begin(store)
        for attempt in (2, 3):
            clock.goes_on(minutes=5)
            assert boot(store).attempt == attempt
            secret = secret_of(store)
        says(store, secret, phase="write", message="I/O error on /dev/vda")
        clock.goes_on(minutes=5)
        for _ in range(2):
            assert boot(store).action == LOCAL
        record = store.machine(MAC)
        assert record is not None
        assert record.state == "failed"
        assert record.error == "3 attempts to install it have failed; the last said: I/O error on /dev/vda"
        with pytest.raises(InstallTokenError):
            says(store, secret, "installed")
        assert [event.state for event in store.recent_events(limit=2)] == ["failed", "installing"]
        again = store.act(MAC, "install", actor="ada")
        assert (again.install_attempts, again.state) == (0, "install_pending")
        assert boot(store).attempt == 1, "asked for anew, at once"

    def test_power_on_again_is_the_next_attempt(self, store: Store, clock: Clock) -> None:
        secret = begin(store)
        says(store, secret, "failed", message="the disk is too small")
        record = store.machine(MAC)
        assert record is not None
        assert (record.state, record.error, record.deadline_at) == ("failed", "the disk is too small", None)
        assert boot(store).attempt == 2, "even within ten seconds: this attempt has said that it is over"
        record = store.machine(MAC)
        assert record is not None
        assert (record.state, record.error) == ("installing", None)

    def test_a_power_cut_before_the_first_word_is_an_attempt(self, store: Store, clock: Clock) -> None:
        begin(store)
        clock.goes_on(hours=2)
        (failed,) = store.expire(clock.now)
        assert failed.state == "failed"
        assert "no report for 120 min in installing; the last said: its boot script was handed" in str(
            failed.error
        )
        assert boot(store).attempt == 2

    @pytest.mark.parametrize("how", ["registry", "store"])
    def test_a_lock_boots_the_local_disk(self, store: Store, how: str) -> None:
        store.act(MAC, "install", actor="ada", initial="approved")
        if how == "store":
            store.act(MAC, "lock", actor="ada")
        assert boot(store, registry_locked=how == "registry") == Handout(LOCAL, "it is locked")
        record = store.machine(MAC)
        assert record is not None
        assert (record.install_attempts, record.state) == (0, "install_pending")

    def test_what_is_no_longer_in_the_registry_is_not_installed(self, store: Store) -> None:
        store.act(MAC, "install", actor="ada", initial="approved")
        assert boot(store, registered=False) == Handout(LOCAL, "it is no longer in the registry")

    def test_whoever_has_not_waited_has_been_handed_nothing(self, store: Store) -> None:
        store.act(MAC, "install", actor="ada", initial="approved")
        before = store.machine(MAC)
        with pytest.raises(StoreUnavailableError, match="has not waited"):
            boot(store, wanted=lambda: False)
        assert store.machine(MAC) == before
        assert len(store.events()) == 1

    def test_many_who_ask_at_once_are_one_attempt(self, url: str) -> None:
        stores = [Store(url) for _ in range(3)]
        stores[0].act(MAC, "install", actor="ada", initial="approved")
        given = together([partial(boot, stores[each % 3]) for each in range(9)])
        assert {each.attempt for each in given} == {1}
        assert len(stores[0].events()) == 2
        for each in stores:
            each.close()

    def test_a_machine_in_use_is_not_installed_when_it_fails_one_day(
        self, store: Store, clock: Clock
    ) -> None:
        """A reinstallation was asked for, nobody has booted the machine, and it has gone on working."""
        store.record_state(StateReport(MAC, "ready", initial="provisioning"))
        asked = store.act(MAC, "reinstall", actor="ada")
        assert asked.deadline_at is not None
        store.expire(asked.deadline_at)
        store.record_state(StateReport(MAC, "ready"))
        store.record_state(StateReport(MAC, "failed", error="a disk is full"))
        clock.goes_on(days=90)
        assert boot(store) == Handout(LOCAL, "no installation is asked for")

    # Unknown machines

    def test_an_unknown_machine_is_discovered(self, store: Store, clock: Clock) -> None:
        ask = partial(store.hand_out, MAC, registered=False)
        assert ask(details={"platform": "efi", "serial": "S1"}).action == "menu"
        record = store.machine(MAC)
        assert record is not None
        assert (record.state, record.deadline_at) == ("discovered", None)
        datum = store.datum(MAC, "firmware")
        assert datum is not None
        assert datum.value == {"platform": "efi", "serial": "S1"}
        clock.goes_on(minutes=1)
        ask(details={"platform": "efi", "serial": "S1"})
        same = store.datum(MAC, "firmware")
        assert same == datum, "what is so already is not written"
        ask(details={"platform": "pcbios"})
        other = store.datum(MAC, "firmware")
        assert other is not None
        assert other.value == {"platform": "pcbios"}
        assert len(store.events()) == 1

    def test_nobody_fills_the_store_with_made_up_machines(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(installations, "MOST_DISCOVERED", 3)
        for each in range(5):
            assert store.hand_out(number(each), registered=False, details={"serial": "x"}).action == "menu"
        assert len(store.machines()) == 3
        assert store.datum(number(4), "firmware") is None

    # Reports of the installer

    def test_an_installation_goes_its_way(self, store: Store, clock: Clock) -> None:
        secret = begin(store)
        clock.goes_on(minutes=3)
        record = says(store, secret, phase="download", progress=20, message="base.tar", address="10.0.0.7")
        assert (record.state, record.phase, record.progress) == ("installing", "download", 20)
        assert record.deadline_at == clock.now + timedelta(hours=1), "progress renews the deadline"
        assert (record.overwrite, record.address) == (False, "10.0.0.7")
        assert says(store, secret, phase="disk").overwrite
        done = says(store, secret, "installed", phase="done", progress=100)
        assert (done.state, done.completed_install_id) == ("installed", done.desired_install_id)
        assert boot(store) == Handout(LOCAL, "no installation is asked for")
        assert store.machine(MAC) == done == says(store, secret, "installed"), "said twice is said"
        with pytest.raises(ConflictError, match="is complete"):
            says(store, secret, "failed", message="late")
        with pytest.raises(ConflictError, match="is complete"):
            says(store, secret, phase="write")
        kinds = [(event.kind, event.state, event.actor) for event in store.events()]
        assert kinds == [
            ("transition", "install_pending", "ada"),
            ("transition", "installing", "boot"),
            ("report", "installing", "installer"),
            ("report", "installing", "installer"),
            ("transition", "installed", "installer"),
            ("report", "installed", "installer"),
        ]

    def test_a_half_written_disk_is_overwritten_by_the_next_attempt(self, store: Store, clock: Clock) -> None:
        secret = begin(store)
        says(store, secret, phase="download")
        clock.goes_on(minutes=1)
        assert not boot(store).overwrite
        says(store, secret_of(store), phase="disk")
        clock.goes_on(minutes=1)
        assert boot(store).overwrite

    def test_a_new_installation_asks_about_the_disk_anew(self, store: Store) -> None:
        secret = begin(store)
        says(store, secret, phase="disk")
        says(store, secret, "failed", message="I/O error")
        assert not store.act(MAC, "install", actor="ada").overwrite

    def test_the_deadline_was_too_short_and_the_late_success_counts(self, store: Store, clock: Clock) -> None:
        secret = begin(store)
        clock.goes_on(hours=2)
        store.expire(clock.now)
        assert says(store, secret, phase="write").state == "installing"
        clock.goes_on(hours=2)
        store.expire(clock.now)
        assert says(store, secret, "installed").state == "installed"

    def test_an_earlier_attempt_has_no_say(self, store: Store, clock: Clock) -> None:
        old = begin(store)
        clock.goes_on(minutes=1)
        boot(store)
        new = secret_of(store)
        for state in ("installing", "installed", "failed"):
            with pytest.raises(InstallTokenError, match="attempt 1 is closed"):
                says(store, old, state)
        with pytest.raises(InstallTokenError, match="attempt 1 is closed"):
            store.install_log(old, "x")
        with pytest.raises(InstallTokenError, match="attempt 1 is closed"):
            store.exchange(old, MAC, "cp-1")
        assert says(store, new, "installed").state == "installed"

    def test_an_earlier_installation_has_no_say(self, store: Store) -> None:
        old = begin(store)
        store.act(MAC, "reinstall", actor="ada")
        with pytest.raises(InstallTokenError, match="no token of an installation that is under way"):
            says(store, old, "installed")
        assert boot(store).attempt == 1
        with pytest.raises(InstallTokenError):
            says(store, old, "installed")
        assert [token.scope for token in store.tokens()] == []

    @pytest.mark.parametrize("action", ["approved", "retired"])
    def test_a_withdrawn_installation_has_no_say(self, store: Store, action: str) -> None:
        secret = begin(store)
        if action == "approved":
            store.record_state(StateReport(MAC, "failed"))
        store.record_state(StateReport(MAC, action))
        with pytest.raises(ConflictError, match="not wanted any more"):
            says(store, secret, "installed")
        record = store.machine(MAC)
        assert record is not None
        assert record.state == action

    def test_an_expired_token_has_no_say(self, store: Store, clock: Clock) -> None:
        secret = begin(store)
        clock.goes_on(hours=24)
        with pytest.raises(InstallTokenError, match="expired: boot the machine again"):
            says(store, secret)

    def test_other_secrets_have_no_say(self, store: Store) -> None:
        begin(store)
        _token, own = store.create_token("m", "machine", MAC)
        _token, operator = store.create_token("ada", "operator")
        for secret in (own, operator, "ksi_guessed", "", "\udc80"):
            with pytest.raises(InstallTokenError, match="no token of an installation"):
                says(store, secret, "installed")

    def test_the_log_is_kept(self, store: Store) -> None:
        secret = begin(store)
        assert store.install_log(secret, "line 1\nline 2") == MAC
        says(store, secret, "failed", message="no disk")
        store.install_log(secret, "the end")
        datum = store.datum(MAC, "install_log")
        record = store.machine(MAC)
        assert datum is not None
        assert record is not None
        assert datum.value == {
            "install_id": record.desired_install_id,
            "attempt": 1,
            "text": "the end",
        }

    # Answers and their tokens

    def test_answers_are_for_a_machine_that_was_given_the_installer(self, store: Store, clock: Clock) -> None:
        why = installations.why_no_answers
        assert why(store.machine(MAC)) == "no installation of it is asked for"
        wanted = store.act(MAC, "install", actor="ada", initial="approved")
        with pytest.raises(ConflictError, match="no attempt to install it is under way"):
            store.keep_install_token(MAC, str(wanted.desired_install_id), 0, digest("x"))
        boot(store)
        assert why(store.machine(MAC)) is None
        assert why(store.machine(MAC), registry_locked=True) == "it is locked"
        keep = partial(store.keep_install_token, MAC, str(wanted.desired_install_id))
        with pytest.raises(ConflictError, match="it is locked"):
            keep(1, digest("x"), registry_locked=True)
        for attempt in (0, 2):
            with pytest.raises(ConflictError, match="another attempt"):
                keep(attempt, digest("x"))
        token = keep(1, digest("x"))
        assert (token.scope, token.mac, token.attempt) == ("install", MAC, 1)
        assert token.expires_at == clock.now + timedelta(hours=24)
        keep(1, digest("y"))
        says(store, "x", phase="boot")
        says(store, "y", "installed")
        assert why(store.machine(MAC)) == "no installation of it is asked for"
        with pytest.raises(ConflictError):
            keep(1, digest("z"))

    def test_an_answer_is_not_fetched_for_ever(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(installations, "TOKENS_OF_AN_ATTEMPT", 2)
        begin(store)
        secret_of(store)
        with pytest.raises(ConflictError, match="too often"):
            secret_of(store)

    # The machine's own token

    def test_the_token_is_exchanged_once(self, store: Store) -> None:
        _old, old = store.create_token("before", "machine", MAC)
        secret, second = begin(store), secret_of(store)
        says(store, secret, "installed")
        with pytest.raises(InstallTokenError, match=f"installation of {MAC}, not of {OTHER}"):
            store.exchange(secret, OTHER, "other")
        record, own = store.exchange(secret, MAC, "cp-1")
        assert record.state == "installed"
        assert own is not None
        token = store.find_token(own)
        assert token is not None
        assert (token.scope, token.mac, token.name, token.condition) == ("machine", MAC, "cp-1", "valid")
        assert (token.install_id, token.expires_at) == (record.completed_install_id, None)
        before = store.find_token(old)
        assert before is not None
        assert before.condition == "revoked"
        for each in (secret, second):
            with pytest.raises(InstallTokenError, match="closed"):
                store.exchange(each, MAC, "cp-1")
            with pytest.raises(InstallTokenError, match="closed"):
                says(store, each, "installed")

    def test_a_machine_may_have_made_its_token_itself(self, store: Store) -> None:
        secret, own = begin(store), new_secret("machine")
        record, made = store.exchange(secret, MAC, "cp-1", hashlib.sha256(own.encode()).hexdigest())
        assert made is None
        token = store.find_token(own)
        assert token is not None
        assert (token.mac, token.condition) == (MAC, "valid")
        assert record.state == "installed"

    @pytest.mark.parametrize("late", [False, True])
    def test_the_exchange_says_that_it_is_installed_where_the_installer_could_not(
        self, store: Store, clock: Clock, late: bool
    ) -> None:
        secret = begin(store)
        if late:
            clock.goes_on(hours=2)
            store.expire(clock.now)
        record, _own = store.exchange(secret, MAC, "cp-1")
        assert (record.state, record.phase) == ("installed", "done")
        assert record.completed_install_id == record.desired_install_id
        assert boot(store).action == LOCAL

    def test_many_who_exchange_at_once_get_one_token(self, url: str) -> None:
        stores = [Store(url) for _ in range(3)]
        secret = begin(stores[0])
        outcomes = together([partial(each.exchange, secret, MAC, "cp-1") for each in stores])
        assert [type(each) for each in outcomes].count(InstallTokenError) == 2
        assert [each.scope for each in stores[0].tokens() if each.condition == "valid"] == ["machine"]
        for each in stores:
            each.close()

    def test_the_system_before_does_not_speak_for_the_new_one(self, store: Store) -> None:
        """The installer could not be loaded: the machine has booted its old disk, and that reports."""
        record, _own = store.exchange(begin(store), MAC, "cp-1")
        old = str(record.completed_install_id)
        store.act(MAC, "reinstall", actor="ada")
        assert boot(store).attempt == 1
        for state in ("installed", "installing", "failed"):
            with pytest.raises(IllegalTransitionError, match="system before it reports does not count"):
                store.record_state(StateReport(MAC, state, install_id=old))
        record, _own = store.exchange(secret_of(store), MAC, "cp-1")
        new = str(record.completed_install_id)
        assert store.record_state(StateReport(MAC, "provisioning", install_id=new)).state == "provisioning"

    # Rescue

    @pytest.mark.parametrize("locked", [False, True])
    def test_a_rescue_is_one_boot(self, store: Store, clock: Clock, locked: bool) -> None:
        ready = store.record_state(StateReport(MAC, "ready", initial="provisioning"))
        asked = store.act(MAC, "rescue", actor="ada", registry_locked=locked)
        assert (asked.state, asked.rescue_from, asked.deadline_at is not None) == ("rescue", "ready", True)
        assert store.act(MAC, "rescue", actor="bob") == asked
        ask = partial(boot, store, registry_locked=locked)
        assert ask() == Handout("rescue", "a rescue is asked for")
        clock.goes_on(seconds=9)
        assert ask().action == "rescue", "firmware may ask twice"
        clock.goes_on(seconds=2)
        assert ask() == Handout(LOCAL, "its rescue has ended")
        record = store.machine(MAC)
        assert record is not None
        assert (record.state, record.rescue_from, record.rescued_at) == ("ready", None, None)
        assert record.version > ready.version
        assert ask().reason == ("it is locked" if locked else "no installation is asked for")

    def test_a_rescue_can_be_asked_for_again(self, store: Store, clock: Clock) -> None:
        store.record_state(StateReport(MAC, "ready", initial="provisioning"))
        store.act(MAC, "rescue", actor="ada")
        boot(store)
        clock.goes_on(minutes=1)
        again = store.act(MAC, "rescue", actor="ada")
        assert (again.rescue_from, again.rescued_at) == ("ready", None)
        assert boot(store).action == "rescue"

    def test_a_rescue_that_nobody_has_booted_ends_by_itself(self, store: Store) -> None:
        store.record_state(StateReport(MAC, "ready", initial="provisioning"))
        asked = store.act(MAC, "rescue", actor="ada")
        assert asked.deadline_at is not None
        (record,) = store.expire(asked.deadline_at)
        assert (record.state, record.message) == ("ready", "the time for its rescue has passed")

    def test_an_installation_goes_on_after_a_rescue(self, store: Store, clock: Clock) -> None:
        secret = begin(store)
        store.act(MAC, "rescue", actor="ada")
        record = says(store, secret, phase="disk")
        assert (record.state, record.rescue_from, record.overwrite) == ("rescue", "installing", True)
        assert boot(store).action == "rescue"
        clock.goes_on(minutes=1)
        assert boot(store).action == LOCAL
        assert boot(store).attempt == 2

    def test_a_finished_installation_is_not_forgotten_over_a_rescue(self, store: Store, clock: Clock) -> None:
        secret = begin(store)
        store.act(MAC, "rescue", actor="ada")
        record = says(store, secret, "installed")
        assert (record.state, record.rescue_from) == ("rescue", "installed")
        boot(store)
        clock.goes_on(minutes=1)
        boot(store)
        record, _own = store.exchange(secret, MAC, "cp-1")
        assert (record.state, record.is_to_be_installed) == ("installed", False)
        clock.goes_on(minutes=1)
        assert boot(store).action == LOCAL

    def test_whoever_reports_a_rescue_is_in_it(self, store: Store, clock: Clock) -> None:
        store.record_state(StateReport(MAC, "ready", initial="provisioning"))
        store.record_state(StateReport(MAC, "rescue"))
        clock.goes_on(minutes=1)
        assert boot(store).action == LOCAL
        record = store.machine(MAC)
        assert record is not None
        assert record.state == "ready"

    # The schema

    def test_a_store_of_the_second_schema_is_taken_along(self, url: str) -> None:
        engine = open_engine(url)
        with engine.connect().execution_options(**OPEN_FOR_WRITING) as connection, connection.begin():
            migrate_within(connection, "0002")
            at = sa.bindparam("at", type_=metadata.tables["events"].c.at.type)
            values = {"at": datetime(2026, 1, 1, tzinfo=timezone.utc), "mac": MAC, "other": OTHER}
            for statement in (
                "INSERT INTO machines (mac, state, updated_at, install_attempts, desired_install_id)"
                " VALUES (:mac, 'installing', :at, 1, 'wanted')",
                "INSERT INTO machines (mac, state, updated_at, desired_install_id, completed_install_id)"
                " VALUES (:other, 'ready', :at, 'same', 'same')",
                "INSERT INTO tokens (name, scope, mac, digest, created_at)"
                " VALUES ('m', 'machine', :mac, :digest, :at)",
            ):
                names = {name: values[name] for name in values if f":{name}" in statement}
                if ":digest" in statement:
                    names["digest"] = digest("ksm_old")
                connection.execute(sa.text(statement).bindparams(at), names)
        engine.dispose()
        with closing(Store(url)) as store:
            assert [each.overwrite for each in store.machines().values()] == [True, False]
            token = store.find_token("ksm_old")
            assert token is not None
            assert (token.id, token.scope, token.install_id) == (1, "machine", None)
            assert store.create_token("next", "read")[0].id == 2
            assert boot(store).attempt == 2, "what is under way goes on"
