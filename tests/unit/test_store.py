# SPDX-License-Identifier: GPL-3.0-or-later
"""The state store in SQLite: what is acknowledged stays, all of it or nothing."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa

from kubestead.store import Store, StoreError, StoreUnavailableError
from kubestead.store.database import open_engine, sqlite_url
from kubestead.store.schema import machine_data
from tests.unit.store_suite import MAC, OTHER, StoreSuite, agrees_with_model, report, together

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "machines.db"


@pytest.fixture
def url(path: Path) -> str:
    return sqlite_url(path)


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    """Ask the file itself, past the code under test."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


class TestSqlite(StoreSuite):
    """Everything that a store does."""


def test_the_store_agrees_with_its_model(url: str) -> None:
    agrees_with_model(url, examples=25)


def test_the_file_is_durable_and_ours(path: Path) -> None:
    with closing(Store.at(path)):
        assert rows(path, "PRAGMA journal_mode") == [("wal",)]
    assert rows(path, "PRAGMA application_id") == [(0x4B626564,)]
    made = rows(path, "SELECT name FROM sqlite_master WHERE sql LIKE '%AUTOINCREMENT%' ORDER BY name")
    assert made == [("events",), ("tokens",)], "no id is ever given twice"
    with open_engine(sqlite_url(path)).connect() as connection:
        names = ("synchronous", "foreign_keys")
        pragmas = {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names}
        assert pragmas == {"synchronous": 2, "foreign_keys": 1}
        with pytest.raises(sa.exc.IntegrityError):
            connection.execute(machine_data.insert().values(mac=OTHER, key="k", value="1", updated_at=NOW))


def test_opening_again_keeps_everything(path: Path) -> None:
    with closing(Store.at(path)) as store:
        record = store.record_state(report())
    with closing(Store.at(path)) as store:
        assert store.machines() == {MAC: record}


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.write_bytes(b"This is a text, and a long one at that. " * 100)
    with pytest.raises(StoreError, match="file is not a database"):
        Store.at(path)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"nowhere/machines\.db cannot be opened"):
        Store.at(tmp_path / "nowhere" / "machines.db")


@pytest.mark.parametrize(
    "url", ["mysql://ada:secret@host/db", "sqlite://", "sqlite:///:memory:", "ada:secret@host", ""]
)
def test_another_kind_of_database_is_refused_and_no_password_told(url: str) -> None:
    with pytest.raises(StoreError, match=r"use sqlite:////path/to/machines\.db or postgresql://") as refused:
        Store(url)
    assert "secret" not in str(refused.value)


def test_a_server_that_is_not_there_is_named_without_the_password() -> None:
    with pytest.raises(StoreError, match=r"postgresql://ada:\*\*\*@127\.0\.0\.1:1/db.*Check that") as refused:
        Store("postgresql://ada:secret@127.0.0.1:1/db")
    assert "secret" not in str(refused.value)


def test_a_locked_database_is_waited_for_then_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubestead.store.database.BUSY_TIMEOUT_SECONDS", 0.1)
    with closing(Store.at(path)) as impatient:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailableError, match="database is locked"):
                impatient.record_state(report())
            assert impatient.machines() == {}, "reading goes on"
            assert impatient.expire() == []
        assert impatient.record_state(report()) == impatient.machine(MAC)


def test_writers_do_not_queue_for_ever(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubestead.store.database.BUSY_TIMEOUT_SECONDS", 0.2)
    with closing(Store.at(path)) as store, closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        outcomes = together([lambda: store.record_state(report())] * 8)
        assert {type(each) for each in outcomes} == {StoreUnavailableError}
        assert any("others are waiting" in str(each) for each in outcomes)


# A child process writes, through the sync verbs or the group commit, and acknowledges each report on a pipe
# by one write, so that a line is there whole or not at all.
WRITER = """
import asyncio, sys
from kubestead.store import AsyncStore, StateReport, Store
store = Store(sys.argv[1])
def report(mac, number):
    return StateReport(mac, "provisioning", message=str(number), initial="approved")
async def machine(shared, each):
    mac = f"52:54:00:00:00:{each:02x}"
    for number in range(100000):
        await shared.record_state(report(mac, number))
        print(f"{mac} {number}\\n", end="", flush=True)
async def all_machines():
    shared = AsyncStore(store)
    await asyncio.gather(*(machine(shared, each) for each in range(20)))
if sys.argv[2] == "one":
    for number in range(100000):
        store.record_state(report("52:54:00:00:00:00", number))
        print(f"52:54:00:00:00:00 {number}\\n", end="", flush=True)
asyncio.run(all_machines())
"""


@pytest.mark.parametrize("how", ["one", "many"])
def test_what_was_acknowledged_survives_a_kill(path: Path, how: str) -> None:
    acknowledged: dict[str, int] = {}
    command = [sys.executable, "-c", WRITER, sqlite_url(path), how]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for count, line in enumerate(writer.stdout):
            mac, number = line.split()
            acknowledged[mac] = int(number)
            if count == 200:
                os.kill(writer.pid, signal.SIGKILL)
    assert writer.returncode == -signal.SIGKILL
    with closing(Store.at(path)) as store:
        for mac, last in acknowledged.items():
            kept = [int(event.message or "") for event in store.events(mac=mac, limit=100_000)]
            assert kept == list(range(len(kept)))
            assert len(kept) > last
            assert store.machines()[mac].message == str(kept[-1]), "the state and its event came together"
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]


# The same with room for so many bytes only; then there is room again.
CRAMPED = """
import resource, sys
from kubestead.store import StateReport, Store, StoreUnavailableError
store = Store(sys.argv[1])
LONG = "x" * 5000
def report(number):
    return StateReport("52:54:00:77:00:11", "provisioning", message=f"{number} {LONG}", initial="approved")
_soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
for number in range(1000):
    try:
        store.record_state(report(number))
    except StoreUnavailableError as error:
        print("refused", error)
        break
    print("kept", number)
assert len(store.machines()) == 1
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
store.record_state(report(number))
print("kept", number)
"""


def test_a_full_disk_refuses_and_loses_nothing(path: Path) -> None:
    command = [sys.executable, "-c", CRAMPED, sqlite_url(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    *before, refused, after = done.stdout.splitlines()
    assert refused.startswith("refused the state store did not answer: ")
    kept = [int(line.removeprefix("kept ")) for line in [*before, after]]
    assert kept == list(range(len(kept)))
    assert len(kept) > 5
    with closing(Store.at(path)) as store:
        assert [int((event.message or "").split()[0]) for event in store.events()] == kept
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]


def test_a_disk_that_is_full_is_told_as_such(path: Path) -> None:
    Store.at(path).close()

    def cramp(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA max_page_count = 1")  # no less than there are

    sa.event.listen(sa.Engine, "connect", cramp)
    try:
        with closing(Store.at(path)) as store:
            with pytest.raises(StoreUnavailableError, match="database or disk is full"):
                store.put_datum(MAC, "k", "x" * 200_000)
            assert store.machines() == {}
    finally:
        sa.event.remove(sa.Engine, "connect", cramp)
