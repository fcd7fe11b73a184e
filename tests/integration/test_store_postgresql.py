# SPDX-License-Identifier: GPL-3.0-or-later
"""The state store in PostgreSQL: all that SQLite does, several instances at once, a server that goes away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from kubestead.store import Store, StoreError, StoreUnavailableError
from tests.integration.postgresql import PASSWORD, PostgreSQL, postgresql
from tests.unit.enrolments_suite import EnrolmentsSuite
from tests.unit.installations_suite import InstallationsSuite
from tests.unit.store_suite import MAC, OTHER, StoreSuite, agrees_with_model, number, report


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQL]:
    with postgresql() as server:
        yield server


@pytest.fixture
def name(server: PostgreSQL) -> str:
    return server.emptied()


@pytest.fixture
def url(server: PostgreSQL, name: str) -> str:
    return server.url(name)


class TestPostgresql(StoreSuite):
    """Everything that a store does."""


class TestPostgresqlInstallations(InstallationsSuite):
    """Everything that a store does about installations."""


class TestPostgresqlEnrolments(EnrolmentsSuite):
    """Everything that a store does about adoption."""


def test_the_store_agrees_with_its_model(url: str) -> None:
    agrees_with_model(url, examples=15)


def test_what_is_acknowledged_is_on_disk_though_the_administrator_chose_speed(
    server: PostgreSQL,
) -> None:
    name = server.new_database()
    url = server.url(name)
    with server.connect() as connection:
        connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    with closing(Store(url)) as store, server.connect(name) as other:
        store.record_state(report())
        assert other.execute("SHOW synchronous_commit").fetchone() == ("off",)
        server.stop("immediate")
        server.start()
        assert store.states()[MAC].state == "provisioning"


def test_the_server_goes_and_comes_back(server: PostgreSQL, url: str) -> None:
    with closing(Store(url)) as store:
        record = store.record_state(report(progress=1))
        server.stop("immediate")
        for attempt in (lambda: store.record_state(report(progress=2)), store.machines, store.check):
            with pytest.raises(StoreUnavailableError, match="the state store did not answer"):
                attempt()
        server.start()
        store.check()
        assert store.machines() == {MAC: record}
        assert store.record_state(report(progress=3)).progress == 3
        assert [event.progress for event in store.events()] == [1, 3]


def test_a_restart_between_two_requests_is_not_noticed(server: PostgreSQL, url: str) -> None:
    with closing(Store(url)) as store:
        store.record_state(report(progress=1))
        server.stop()
        server.start()
        store.record_state(report(progress=2))
        assert [event.progress for event in store.events()] == [1, 2]


def test_an_instance_that_stops_while_it_writes_is_cut_off(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubestead.store.database.STUCK_WRITER_SECONDS", 0.3)
    with closing(Store(url)) as stuck:
        stuck.record_state(report())
        monkeypatch.undo()
        holding, go_on = threading.Event(), threading.Event()
        outcome: list[Exception | None] = []

        def hang() -> None:
            try:
                with stuck._written():
                    holding.set()
                    go_on.wait()
            except StoreUnavailableError as error:
                outcome.append(error)

        thread = threading.Thread(target=hang)
        thread.start()
        holding.wait()
        with closing(Store(url)) as other:
            other.record_state(report(OTHER))  # waits for the server's patience with the first to end
        go_on.set()
        thread.join()
        assert isinstance(outcome[0], StoreUnavailableError)
        assert sorted(stuck.machines()) == [MAC, OTHER]


def test_who_waits_too_long_for_its_turn_is_told(
    url: str, server: PostgreSQL, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kubestead.store.database.BUSY_TIMEOUT_SECONDS", 0.2)
    with closing(Store(url)) as store, server.connect(name) as other:
        other.execute("SELECT pg_advisory_lock(%s)", (0x6B6265640001,))
        with pytest.raises(StoreUnavailableError, match="lock timeout"):
            store.record_state(report())
        assert store.machines() == {}, "reading goes on"
        other.execute("SELECT pg_advisory_unlock_all()")
        assert store.record_state(report()).version == 1


def test_a_wrong_password_is_told_without_it(server: PostgreSQL, name: str) -> None:
    with pytest.raises(StoreError, match="password authentication failed") as refused:
        Store(f"postgresql://kubestead:not-{PASSWORD[-4:-1]}@/{name}?host={server.socket}")
    assert "not-" not in str(refused.value)


def test_a_database_that_does_not_take_every_text_is_refused(server: PostgreSQL) -> None:
    with server.connect() as connection:
        connection.execute("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    with pytest.raises(StoreError, match=r"has the encoding LATIN1.*createdb --encoding=UTF8"):
        Store(server.url("latin"))


def test_ids_of_events_are_wide(server: PostgreSQL, name: str, url: str) -> None:
    with closing(Store(url)) as store, server.connect(name) as connection:
        connection.execute("SELECT setval('events_id_seq', 5000000000)")
        store.record_state(report())
        assert store.changes(4_000_000_000)[1] == 5_000_000_001


INSTANCE = """
import sys, threading
from kubestead.store import StateReport, Store
store = Store(sys.argv[1])
print("open", flush=True)
sys.stdin.readline()
def write(place):
    for number in range(100000):
        mac = f"52:54:00:00:{int(sys.argv[2]):02x}:{place:02x}"
        store.record_state(StateReport(mac, "provisioning", message=str(number), initial="approved"))
        print(mac, number, flush=True)
for place in range(3):
    threading.Thread(target=write, args=(place,)).start()
"""


def test_instances_start_together_write_together_and_are_killed(url: str) -> None:
    instances = [
        subprocess.Popen(
            [sys.executable, "-c", INSTANCE, url, str(place)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for place in range(3)
    ]
    acknowledged: dict[str, int] = {}
    seen: list[int] = []
    try:
        for each in instances:
            assert each.stdout is not None
            assert each.stdout.readline() == "open\n", "the first migrates, the others wait"
        with closing(Store(url)) as store:
            for each in instances:
                assert each.stdin is not None
                each.stdin.write("go\n")
                each.stdin.flush()
            last = 0
            while last < 300:
                events, last = store.changes(last)
                seen += [event.id for event in events]
            for each in instances:
                os.kill(each.pid, signal.SIGKILL)
            for each in instances:
                for line in each.communicate()[0].splitlines():
                    mac, message = line.split()
                    acknowledged[mac] = int(message)
            while True:
                events, last = store.changes(last)
                if not events:
                    break
                seen += [event.id for event in events]
            everything = store.events(limit=1_000_000)
            assert seen == [event.id for event in everything], "none passed over, none twice"
            assert len(acknowledged) == 9
            for mac, latest in acknowledged.items():
                kept = [int(event.message or "") for event in everything if event.mac == mac]
                assert kept == list(range(len(kept)))
                assert len(kept) > latest
    finally:
        for each in instances:
            each.kill()
            each.wait()


def test_the_turn_to_write_is_what_keeps_ids_in_order(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it a reader misses events: so the test that none is missed can fail."""
    with closing(Store(url)) as first, closing(Store(url)) as second:
        first.record_state(report(number(1)))
        monkeypatch.setattr("kubestead.store.database._begin_postgresql", lambda _connection: None)
        with closing(Store(url)) as unordered, unordered._written() as connection:
            unordered._apply(connection, [report(number(2))])
            later = second.record_state(report(number(3)))
            seen, last = second.changes(0)
            assert [event.mac for event in seen] == [number(1), number(3)]
        assert later.mac == number(3)
        assert second.changes(last) == ([], last), "the event of the second machine came too late to be seen"
