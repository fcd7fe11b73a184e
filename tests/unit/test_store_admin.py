# SPDX-License-Identifier: GPL-3.0-or-later
"""Backing up, restoring and moving a SQLite store: while it is written to, from files good and bad."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kubestead.store import Store, StoreError, admin
from kubestead.store.database import open_engine, sqlite_url
from kubestead.store.migrate import migrate_within
from kubestead.store.use import UseLock
from tests.unit.store_suite import MAC, OPEN_FOR_WRITING, OTHER, number, report


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    return tmp_path / "state" / "machines.db"


@pytest.fixture
def url(path: Path) -> str:
    return sqlite_url(path)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "kept.db"


def fill(store: Store) -> None:
    """Something of everything that a store holds."""
    store.record_state(report(features={"gpu": "ok"}, message="first"))
    store.put_datum(OTHER, "join", {"token": ["a", 1]})
    store.act(MAC, "lock", actor="ada")
    store.create_token("laptop", "operator")
    store.create_token("cp-1", "machine", MAC)
    store.take_claim("homelab", MAC)
    store.complete_claim("homelab", MAC, 1, {"endpoint": "x"})


def content(store: Store) -> list[Any]:
    """All that a store tells."""
    data = [store.datum(mac, each.key) for mac in (MAC, OTHER) for each in store.data(mac)]
    return [store.machines(), store.events(), data, store.tokens(), store.claims()]


def older(path: Path) -> None:
    """A store of the first schema, with one machine."""
    engine = open_engine(sqlite_url(path))
    with engine.connect().execution_options(**OPEN_FOR_WRITING) as connection, connection.begin():
        migrate_within(connection, "0001")
        connection.exec_driver_sql(
            "INSERT INTO machines (mac, state, updated_at) VALUES (?, 'ready', '2026-01-01 00:00:00.000000')",
            (MAC,),
        )
    engine.dispose()


def test_a_backup_is_the_store_at_one_moment_while_others_write(url: str, path: Path, kept: Path) -> None:
    with closing(Store(url)) as store:
        fill(store)
        done = threading.Event()
        backed_up = threading.Event()

        def write(each: int) -> None:
            progress = 0
            while not done.is_set():
                store.record_state(report(number(each), message=str(progress)))
                progress += 1

        writers = [threading.Thread(target=write, args=(each,)) for each in range(3)]
        for writer in writers:
            writer.start()
        try:
            for _ in range(5):
                before = store.last_event_id()
                store.backup(kept)
                backed_up.set()
                with closing(Store.at(kept)) as copy:
                    assert before <= copy.last_event_id() <= store.last_event_id()
                    last = {event.mac: event.message for event in copy.events(limit=100_000) if event.state}
                    for mac, record in copy.states().items():
                        assert record.message == last[mac] or mac == MAC, "states and events belong together"
        finally:
            done.set()
            for writer in writers:
                writer.join()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600, "it holds the hashes of tokens"
    assert sorted(each.name for each in kept.parent.iterdir()) == ["kept.db", "kept.db.lock", "state"]


def test_a_restored_store_is_the_one_that_was_backed_up(url: str, path: Path, kept: Path) -> None:
    with closing(Store(url)) as store:
        fill(store)
        before = content(store)
        store.backup(kept)
        store.record_state(report(OTHER, message="later"))
        after = content(store)
    admin.restore(kept, url)
    with closing(Store(url)) as store:
        assert content(store) == before
        assert store.note("registry", "x").id == before[1][-1].id + 1
    (beside,) = path.parent.glob("machines.db.*~")
    admin.restore(beside, url)
    with closing(Store(url)) as store:
        assert content(store) == after, "what was replaced stays beside it"


def test_a_backup_can_be_restored_where_there_is_no_store(url: str, kept: Path, tmp_path: Path) -> None:
    with closing(Store(url)) as store:
        fill(store)
        admin.backup(url, kept)
        before = content(store)
    fresh = sqlite_url(tmp_path / "fresh.db")
    admin.restore(kept, fresh)
    with closing(Store(fresh)) as store:
        assert content(store) == before


def test_a_backup_of_an_older_schema_is_taken_along(url: str, tmp_path: Path, kept: Path) -> None:
    older(tmp_path / "old.db")
    admin.backup(sqlite_url(tmp_path / "old.db"), kept)
    with closing(sqlite3.connect(kept)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("0001",)]
    admin.restore(kept, url)
    with closing(Store(url)) as store:
        assert store.machines()[MAC].version == 1


def text(path: Path) -> None:
    path.write_text("machines:\n" * 1000)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def of_others(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE photos (name TEXT)")


def newer(path: Path) -> None:
    Store.at(path).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")


def cut(path: Path) -> None:
    with closing(Store.at(path)) as store:
        fill(store)
        store.backup(path.with_name("whole"))
    whole = path.with_name("whole").read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def scribbled(path: Path) -> None:
    with closing(Store.at(path)) as store:
        fill(store)
        store.backup(path.with_name("whole"))
    whole = bytearray(path.with_name("whole").read_bytes())
    whole[8192:12288] = os.urandom(4096)
    path.write_bytes(whole)


def orphaned(path: Path) -> None:
    with closing(Store.at(path)) as store:
        fill(store)
        store.backup(path.with_name("whole"))
    with closing(sqlite3.connect(path.with_name("whole"))) as connection, connection:
        connection.execute("DELETE FROM machines")
    path.with_name("whole").replace(path)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (text, "no backup of a state store: expected a file that `kubestead backup` made"),
        (empty, "no backup of a state store"),
        (of_others, "a SQLite database, but no state store of Kubestead"),
        (newer, r"schema 9999.*a newer Kubestead has written it"),
        (cut, "damaged"),
        (scribbled, "damaged"),
        (orphaned, "a row of machine_data refers to a machine that is not there"),
    ],
)
def test_what_is_no_good_backup_is_refused_and_changes_nothing(
    url: str, path: Path, tmp_path: Path, make: Any, words: str
) -> None:
    with closing(Store(url)) as store:
        fill(store)
        before = content(store)
    make(tmp_path / "candidate")
    (tmp_path / "candidate.lock").unlink(missing_ok=True)
    with pytest.raises(StoreError, match=words):
        admin.restore(tmp_path / "candidate", url)
    with closing(Store(url)) as store:
        assert content(store) == before
    assert sorted(each.name for each in path.parent.iterdir()) == ["machines.db", "machines.db.lock"]


def test_a_store_in_use_is_not_restored(url: str, kept: Path) -> None:
    with closing(Store(url)) as store:
        fill(store)
        store.backup(kept)
        before = content(store)
        with pytest.raises(StoreError, match=r"is in use: stop the State API first \(systemctl stop machine"):
            admin.restore(kept, url)
        with pytest.raises(StoreError, match="is in use"):
            admin.move(url, sqlite_url(kept.with_name("moved.db")))
        assert content(store) == before


def test_nobody_opens_a_store_while_it_is_restored(url: str, path: Path) -> None:
    Store(url).close()
    use = UseLock(path, alone=True)
    with pytest.raises(StoreError, match="is being restored or moved: wait"):
        Store(url)
    use.release()
    Store(url).close()


def test_a_file_of_others_is_not_overwritten(url: str, path: Path, tmp_path: Path) -> None:
    with closing(Store(url)) as store:
        fill(store)
        letter = tmp_path / "letter"
        letter.write_text("Dear Ada")
        with pytest.raises(StoreError, match="is there already and no backup: name another file"):
            store.backup(letter)
        assert letter.read_text() == "Dear Ada"
        with pytest.raises(StoreError, match="is the store itself"):
            store.backup(path)
        with pytest.raises(StoreError, match="cannot be written: No such file"):
            store.backup(tmp_path / "nowhere" / "kept.db")
        store.backup(tmp_path / "kept.db")
    of_others(tmp_path / "photos.db")
    with pytest.raises(StoreError, match="no state store of Kubestead"):
        admin.restore(tmp_path / "kept.db", sqlite_url(tmp_path / "photos.db"))
    with closing(sqlite3.connect(tmp_path / "photos.db")) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("photos",)]


def test_a_store_that_is_not_there_is_named(tmp_path: Path, kept: Path) -> None:
    missing = sqlite_url(tmp_path / "missing.db")
    with pytest.raises(StoreError, match=r"there is no store .*missing\.db"):
        admin.backup(missing, kept)
    with pytest.raises(StoreError, match=r"there is no store .*missing\.db"):
        admin.move(missing, sqlite_url(kept))
    with pytest.raises(StoreError, match=r"kept\.db cannot be read: No such file"):
        admin.restore(kept, missing)
    assert list(tmp_path.glob("missing.db*")) == []


def test_a_store_is_moved_to_an_empty_place_only(url: str, tmp_path: Path) -> None:
    with closing(Store(url)) as store:
        fill(store)
        before = content(store)
    target = sqlite_url(tmp_path / "moved.db")
    assert admin.move(url, target) == {
        "claims": 1,
        "events": 6,
        "machines": 2,
        "tokens": 2,
        "machine_data": 1,
        "machine_features": 1,
        "enrolments": 0,
    }
    with pytest.raises(StoreError, match=r"is not empty \(it has claims, events"):
        admin.move(url, target)
    for each in (url, target):
        with closing(Store(each)) as store:
            assert content(store) == before
    of_others(tmp_path / "photos.db")
    with pytest.raises(StoreError, match="tables that Kubestead has not made"):
        admin.move(url, sqlite_url(tmp_path / "photos.db"))
    with pytest.raises(StoreError, match="holds no state store"):
        admin.move(sqlite_url(tmp_path / "photos.db"), sqlite_url(tmp_path / "other.db"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can leave files behind that are not the service's")
def test_what_root_restores_is_the_service_users(kept: Path, path: Path, url: str) -> None:
    with closing(Store.at(path.with_name("source.db"))) as store:
        fill(store)
        store.backup(kept)
    os.chown(path.parent, 65534, 65534)
    admin.restore(kept, url)
    assert {each.stat().st_uid for each in path.parent.glob("machines.db*")} == {65534}
