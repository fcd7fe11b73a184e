# SPDX-License-Identifier: GPL-3.0-or-later
"""Backing up, restoring and moving a PostgreSQL store: real dumps, good and bad; both kinds of database."""

from __future__ import annotations

import json
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from kubestead.store import Store, StoreError, admin, dump
from kubestead.store.database import open_engine, sqlite_url
from kubestead.store.migrate import migrate_within
from kubestead.store.schema import metadata
from tests.integration.postgresql import PASSWORD, PostgreSQL, postgresql
from tests.unit.store_suite import MAC, OPEN_FOR_WRITING, OTHER, number, report
from tests.unit.test_store_admin import content, fill, scribbled


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


def everything(url: str) -> list[Any]:
    """All rows of all tables."""
    engine = open_engine(url)
    try:
        with engine.connect() as connection:
            return [
                connection.execute(sa.select(table).order_by(*table.primary_key)).all()
                for table in metadata.sorted_tables
            ]
    finally:
        engine.dispose()


def test_a_backup_is_the_store_at_one_moment_while_others_write(
    server: PostgreSQL, url: str, tmp_path: Path
) -> None:
    with closing(Store(url)) as store:
        fill(store)
        done = threading.Event()

        def write() -> None:
            progress = 0
            while not done.is_set():
                store.record_state(report(number(1), message=str(progress)))
                progress += 1

        writer = threading.Thread(target=write)
        writer.start()
        try:
            before = store.last_event_id()
            store.backup(tmp_path / "kept")
            after = store.last_event_id()
        finally:
            done.set()
            writer.join()
    copied = server.url(server.new_database())
    admin.restore(tmp_path / "kept", copied)
    with closing(Store(copied)) as copy:
        assert before <= copy.last_event_id() <= after
        assert copy.note("registry", "x").id == copy.last_event_id(), "ids go on where they were"
        record = copy.machines().get(number(1))
        if record is not None:
            assert record.message == copy.events(mac=number(1), limit=100_000)[-1].message


def test_a_restored_store_is_the_one_that_was_backed_up(url: str, tmp_path: Path) -> None:
    text = "tab\t, line\n, \\N and \\. alone:\n\\.\nCOPY public.machines (mac) FROM stdin;\n'é\U0001f600"
    with closing(Store(url)) as store:
        fill(store)
        store.record_state(report(message=text, features={"nfs": text}))
        before = content(store)
        admin.backup(url, tmp_path / "kept")
        store.act(MAC, "retire", actor="ada")
        store.take_claim("other", OTHER)
    rows = everything(url)
    admin.restore(tmp_path / "kept", url)
    assert everything(url) != rows
    with closing(Store(url)) as store:
        assert content(store) == before
        token, _secret = store.create_token("new", "read")
        assert token.id == 3


def test_a_store_in_use_is_neither_restored_nor_moved(server: PostgreSQL, url: str, tmp_path: Path) -> None:
    with closing(Store(url)) as store:
        fill(store)
        store.backup(tmp_path / "kept")
        before = content(store)
        with pytest.raises(StoreError, match=r"is in use: stop every State API"):
            admin.restore(tmp_path / "kept", url)
        with pytest.raises(StoreError, match="is in use"):
            admin.move(url, sqlite_url(tmp_path / "moved.db"))
        assert content(store) == before
    admin.restore(tmp_path / "kept", url)


def test_the_password_stands_in_no_command_line(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(Store(url)) as store:
        fill(store)
    real = dump._program("pg_dump")
    spy = tmp_path / "pg_dump"
    spy.write_text(
        f"#!{sys.executable}\nimport json, os, sys\n"
        f"json.dump(sys.argv, open({str(tmp_path / 'argv')!r}, 'w'))\nos.execv({real!r}, sys.argv)\n"
    )
    spy.chmod(0o755)
    programs = {"pg_dump": str(spy), "pg_restore": dump._program("pg_restore")}
    monkeypatch.setattr(dump, "_program", programs.__getitem__)
    admin.backup(url, tmp_path / "kept")
    argv = json.loads((tmp_path / "argv").read_text())
    assert any("user=kubestead" in argument for argument in argv)
    assert not any(PASSWORD in argument or "pass@word" in argument for argument in argv)


def test_a_dump_of_the_first_schema_is_taken_along(server: PostgreSQL, url: str, tmp_path: Path) -> None:
    old = server.url(server.new_database())
    engine = open_engine(old, mark_use=False)
    with engine.connect().execution_options(**OPEN_FOR_WRITING) as connection, connection.begin():
        migrate_within(connection, "0001")
        connection.exec_driver_sql(
            "INSERT INTO machines (mac, state, updated_at) VALUES (%s, 'ready', now())", (MAC,)
        )
        connection.exec_driver_sql(
            "INSERT INTO events (mac, at, state, features) VALUES (%s, now(), 'ready', '{}')", (MAC,)
        )
    engine.dispose()
    admin.backup(old, tmp_path / "kept")
    admin.restore(tmp_path / "kept", url)
    with closing(Store(url)) as store:
        assert store.machines()[MAC].version == 1
        assert store.events()[0].kind == "transition"
        assert store.note("registry", "x").id == 2


def test_what_is_no_good_dump_is_refused_and_changes_nothing(
    server: PostgreSQL, url: str, tmp_path: Path
) -> None:
    with closing(Store(url)) as store:
        fill(store)
        for each in range(50):
            store.record_state(report(number(each), message=f"message {each * 7919} of many"))
        store.backup(tmp_path / "good")
        store.note("registry", "after the backup")
    before = everything(url)
    good = (tmp_path / "good").read_bytes()

    def refused(content: bytes, words: str) -> None:
        (tmp_path / "bad").write_bytes(content)
        with pytest.raises(StoreError, match=words):
            admin.restore(tmp_path / "bad", url)
        assert everything(url) == before

    refused(good[:-100], "damaged, or no dump")
    refused(good[: len(good) // 2], "damaged, or no dump")
    refused(good[:7], "damaged, or no dump")
    refused(b"-- PostgreSQL database dump\nDROP TABLE machines;\n", "no backup of a state store")
    # The rows are compressed, with a checksum.
    scribble = bytearray(good)
    scribble[-60:-50] = b"scribblers"
    refused(bytes(scribble), "damaged, or no dump|refuses a row")

    photos = server.new_database()
    with server.connect(photos) as connection:
        connection.execute("CREATE TABLE photos (name text)")
    server.dump(photos, tmp_path / "photos")
    refused(
        (tmp_path / "photos").read_bytes(), "a PostgreSQL dump, but of no state store of Kubestead.*photos"
    )

    newer = server.url(server.new_database())
    with closing(Store(newer)) as store:
        fill(store)
    with open_engine(newer).begin() as other:
        other.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    admin.backup(newer, tmp_path / "newer")
    refused((tmp_path / "newer").read_bytes(), r"schema 9999.*a newer Kubestead has written it")


def test_a_scribble_anywhere_is_refused_or_does_not_matter(url: str, tmp_path: Path) -> None:
    with closing(Store(url)) as store:
        fill(store)
        for each in range(20):
            store.record_state(report(number(each), message=f"message {each * 7919} of many"))
        store.backup(tmp_path / "good")
    before = everything(url)
    good = (tmp_path / "good").read_bytes()
    refusals = 0
    for place in range(len(good) // 24, len(good), len(good) // 12):
        scribble = bytearray(good)
        scribble[place : place + 4] = b"\xff\x00~X"
        (tmp_path / "bad").write_bytes(scribble)
        try:
            admin.restore(tmp_path / "bad", url)
        except StoreError:
            refusals += 1
        assert everything(url) == before
    assert refusals >= 3


def test_other_tables_in_the_database_are_left_alone(
    server: PostgreSQL, name: str, url: str, tmp_path: Path
) -> None:
    with closing(Store(url)) as store:
        fill(store)
        store.backup(tmp_path / "kept")
    with server.connect(name) as connection:
        connection.execute("CREATE TABLE photos (name text)")
        with pytest.raises(StoreError, match=r"tables that Kubestead has not made \(photos\)"):
            admin.restore(tmp_path / "kept", url)
        assert connection.execute("SELECT count(*) FROM machines").fetchone() == (2,)
    server.dump(name, tmp_path / "mixed")
    with pytest.raises(StoreError, match="photos"):
        admin.restore(tmp_path / "mixed", server.url(server.new_database()))


def test_a_store_moves_to_postgresql_and_back(server: PostgreSQL, url: str, tmp_path: Path) -> None:
    first, last = sqlite_url(tmp_path / "first.db"), sqlite_url(tmp_path / "last.db")
    with closing(Store(first)) as store:
        fill(store)
        store.write([report(number(each)) for each in range(1500)])
    with (
        closing(sqlite3.connect(tmp_path / "first.db")) as connection,
        connection,
    ):  # as early releases took it
        connection.execute(
            "UPDATE machines SET message = 'a NUL ' || char(0) || ' here' WHERE mac = ?", (number(7),)
        )
    rows = everything(first)
    moved = admin.move(first, url)
    assert moved == {table.name: len(each) for table, each in zip(metadata.sorted_tables, rows, strict=True)}
    with closing(Store(url)) as store:
        assert store.machines()[number(7)].message == "a NUL \ufffd here"
        ids = [event.id for event in store.events(limit=10_000)]
        assert store.record_state(report(number(7), message="fine again")).version == 1
        assert store.last_event_id() == ids[-1] + 1
        assert store.create_token("next", "read")[0].id == 3
    with pytest.raises(StoreError, match=r"is not empty \(it has claims"):
        admin.move(first, url)
    assert everything(first) == rows, "the source stays as it is"
    admin.move(url, last)
    assert everything(last) == everything(url)
    with closing(Store(last)) as store:
        assert store.note("registry", "x").id == ids[-1] + 3


def test_a_move_into_a_database_of_others_is_refused(
    server: PostgreSQL, name: str, url: str, tmp_path: Path
) -> None:
    source = sqlite_url(tmp_path / "source.db")
    with closing(Store(source)) as store:
        fill(store)
    with server.connect(name) as connection:
        connection.execute("CREATE TABLE photos (name text)")
    with pytest.raises(StoreError, match="tables that Kubestead has not made"):
        admin.move(source, url)
    with pytest.raises(StoreError, match="holds no state store"):
        admin.move(url, sqlite_url(tmp_path / "target.db"))
    with pytest.raises(StoreError, match="holds no state store"):
        admin.backup(url, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_a_sqlite_backup_can_be_restored_into_postgresql(url: str, tmp_path: Path) -> None:
    with closing(Store.at(tmp_path / "machines.db")) as store:
        fill(store)
        before = content(store)
        store.backup(tmp_path / "kept.db")
    with closing(Store(url)) as store:
        store.record_state(report(OTHER, message="gone afterwards"))
    scribbled(tmp_path / "bad.db")
    rows = everything(url)
    with pytest.raises(StoreError, match="damaged"):
        admin.restore(tmp_path / "bad.db", url)
    assert everything(url) == rows
    admin.restore(tmp_path / "kept.db", url)
    with closing(Store(url)) as store:
        assert content(store) == before
        assert store.note("registry", "x").id == before[1][-1].id + 1
        store.backup(tmp_path / "kept.dump")
    with pytest.raises(StoreError, match="is a backup of a PostgreSQL store"):
        admin.restore(tmp_path / "kept.dump", sqlite_url(tmp_path / "machines.db"))


def test_nobody_opens_a_store_while_it_is_restored(
    server: PostgreSQL, name: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store(url).close()
    monkeypatch.setattr("kubestead.store.database.BUSY_TIMEOUT_SECONDS", 0.2)
    with server.connect(name) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (0x6B6265640002,))
        with pytest.raises(StoreError, match="lock timeout"):
            Store(url)
    Store(url).close()
