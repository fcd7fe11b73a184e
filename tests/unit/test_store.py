# SPDX-License-Identifier: GPL-3.0-or-later
"""The state store: what is acknowledged stays, all of it or nothing."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import op
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from kubestead.store import StateReport, Store, StoreError, StoreUnavailableError
from kubestead.store.database import open_engine, sqlite_url
from kubestead.store.migrate import migrate
from kubestead.store.schema import events, metadata

MAC = "52:54:00:77:00:11"
OTHER = "52:54:00:77:00:21"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "machines.db"


@pytest.fixture
def store(path: Path) -> Store:
    return Store.at(path)


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    """Ask the file itself, past the code under test."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def test_a_report_becomes_the_state_and_an_event(store: Store, path: Path) -> None:
    before = datetime.now(timezone.utc)
    store.record_state(StateReport(MAC, "provisioning", "prepare", 10, "packages", correlation_id="run-1"))
    store.record_state(
        StateReport(MAC, "failed", "prepare", error="no space left", features={"gpu": "missing"})
    )
    state = store.states()[MAC]
    assert (state.state, state.phase, state.progress) == ("failed", "prepare", None)
    assert (state.message, state.error, state.features) == (None, "no space left", {"gpu": "missing"})
    assert before <= state.updated_at <= datetime.now(timezone.utc)
    assert state.updated_at.utcoffset() == timedelta(0)
    assert rows(path, "SELECT mac, state, progress, correlation_id, features FROM events ORDER BY id") == [
        (MAC, "provisioning", 10, "run-1", "{}"),
        (MAC, "failed", None, None, '{"gpu":"missing"}'),
    ]


def test_features_keep_their_status_until_they_are_named_again(store: Store) -> None:
    store.record_state(StateReport(MAC, "provisioning", features={"gpu": "installing", "nfs": "ok"}))
    store.record_state(StateReport(MAC, "provisioning", features={"gpu": "ok"}))
    assert store.record_state(StateReport(MAC, "ready")).features == {"gpu": "ok", "nfs": "ok"}
    store.record_state(StateReport(OTHER, "ready"))
    assert store.states()[MAC].features == {"gpu": "ok", "nfs": "ok"}
    assert store.states()[OTHER].features == {}


def test_a_datum_is_replaced_and_keeps_its_type(store: Store) -> None:
    values: tuple[Any, ...] = ({"ü": [1, 2.5, None, True]}, "text", 0, None, [])
    for value in values:
        store.put_datum(MAC, "k", value)
        datum = store.datum(MAC, "k")
        assert datum is not None
        assert datum.value == value
        assert type(datum.value) is type(value)
    assert store.datum(MAC, "other") is None
    assert store.datum(OTHER, "k") is None
    assert store.states() == {}, "a machine that has only stored data has no state"


def test_a_report_that_cannot_be_kept_leaves_no_trace(store: Store, path: Path) -> None:
    store.record_state(StateReport(MAC, "ready", progress=100))
    with pytest.raises(StoreUnavailableError):
        store.record_state(StateReport(MAC, "failed", progress=101))
    assert store.states()[MAC].state == "ready"
    assert rows(path, "SELECT count(*) FROM events") == [(1,)]


def test_the_file_is_durable_and_ours(store: Store, path: Path) -> None:
    assert rows(path, "PRAGMA journal_mode") == [("wal",)]
    assert rows(path, "PRAGMA application_id") == [(0x4B626564,)]
    engine = open_engine(sqlite_url(path))
    with engine.connect() as connection:
        settings = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("synchronous", "foreign_keys")
        }
        assert settings == {"synchronous": 2, "foreign_keys": 1}
        with pytest.raises(sa.exc.IntegrityError):
            connection.execute(
                events.insert().values(mac=OTHER, at=datetime.now(timezone.utc), state="ready", features="{}")
            )


def test_the_migrations_make_the_tables_of_the_code(store: Store, path: Path) -> None:
    with open_engine(sqlite_url(path)).connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_opening_again_keeps_everything(store: Store, path: Path) -> None:
    store.record_state(StateReport(MAC, "ready"))
    store.close()
    assert Store.at(path).states()[MAC].state == "ready"


def test_a_failed_migration_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_index(*_arguments: object, **_options: object) -> None:
        raise RuntimeError("power cut")

    monkeypatch.setattr(op, "create_index", no_index)
    with pytest.raises(RuntimeError):
        migrate(open_engine(sqlite_url(path)))
    assert rows(path, "SELECT name FROM sqlite_master") == []
    monkeypatch.undo()
    assert Store.at(path).states() == {}


def test_a_database_of_a_newer_program_is_refused(store: Store, path: Path) -> None:
    store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreError, match=r"schema 9999.*newer Kubestead"):
        Store.at(path)


def test_a_database_of_others_is_refused(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE photos (name TEXT)")
    with pytest.raises(StoreError, match="tables that Kubestead has not made"):
        Store.at(path)
    assert rows(path, "SELECT name FROM sqlite_master WHERE type = 'table'") == [("photos",)]


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.write_bytes(b"This is a text, and a long one at that. " * 100)
    with pytest.raises(StoreError, match="file is not a database"):
        Store.at(path)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"nowhere/machines\.db cannot be opened"):
        Store.at(tmp_path / "nowhere" / "machines.db")


def test_another_kind_of_database_is_refused() -> None:
    with pytest.raises((StoreError, ModuleNotFoundError)):
        Store("postgresql://localhost/kubestead")


def test_a_locked_database_is_waited_for_then_named(
    store: Store, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kubestead.store.database.BUSY_TIMEOUT_SECONDS", 0.1)
    impatient = Store.at(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailableError, match="database is locked"):
        impatient.record_state(StateReport(MAC, "ready"))
    assert impatient.states() == {}, "reading goes on"

    other.execute("ROLLBACK")
    other.close()
    impatient.record_state(StateReport(MAC, "ready"))
    assert impatient.states()[MAC].state == "ready"


def test_many_threads_write_without_losing_anything(store: Store, path: Path) -> None:
    def report(number: int) -> None:
        for progress in range(10):
            store.record_state(StateReport(f"52:54:00:00:00:{number:02x}", "provisioning", progress=progress))

    threads = [threading.Thread(target=report, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rows(path, "SELECT count(*), count(DISTINCT mac) FROM events") == [(80, 8)]
    assert {state.progress for state in store.states().values()} == {9}


WRITER = """
import sys
from pathlib import Path
from kubestead.store import StateReport, Store
store = Store.at(Path(sys.argv[1]))
for number in range(100000):
    store.record_state(StateReport("52:54:00:77:00:11", "provisioning", message=str(number)))
    print(number, flush=True)
"""


def test_what_was_acknowledged_survives_a_kill(path: Path) -> None:
    acknowledged = -1
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    for line in writer.stdout:
        acknowledged = int(line)
        if acknowledged == 40:
            os.kill(writer.pid, signal.SIGKILL)
    assert writer.wait() == -signal.SIGKILL
    store = Store.at(path)
    events_kept = rows(path, "SELECT message FROM events ORDER BY id")
    assert [int(str(message)) for (message,) in events_kept] == list(range(len(events_kept)))
    assert len(events_kept) > acknowledged
    assert store.states()[MAC].message == str(len(events_kept) - 1), "the state and its event came together"
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]
