# SPDX-License-Identifier: GPL-3.0-or-later
"""A restore that is killed in the middle: the store holds what it held, or what the backup holds."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from kubestead.store import Store
from kubestead.store.database import sqlite_url
from tests.unit.store_suite import number, report

RESTORE = """
import sys
from pathlib import Path
from kubestead.store import admin
admin.restore(Path(sys.argv[1]), sys.argv[2])
"""


def write(store: Store, times: int, letter: str) -> int:
    """Reports of some size; the number of events afterwards."""
    for _ in range(times):
        store.write([report(number(each), message=letter * 800) for each in range(200)])
    return store.last_event_id()


@pytest.mark.parametrize("written", [0, 200_000, 2_000_000, 4_000_000])
def test_a_restore_that_is_killed_is_done_or_not_at_all(tmp_path: Path, written: int) -> None:
    (tmp_path / "state").mkdir()
    path, kept = tmp_path / "state" / "machines.db", tmp_path / "kept.db"
    with closing(Store.at(path)) as store:
        backed_up = write(store, 25, "a")
        store.backup(kept)
        present = write(store, 5, "b")
    log = path.with_name("machines.db-wal")

    def grown() -> bool:
        try:
            return log.stat().st_size > written
        except FileNotFoundError:
            return False

    with subprocess.Popen([sys.executable, "-c", RESTORE, str(kept), sqlite_url(path)]) as restoring:
        while not grown() and restoring.poll() is None:
            pass
        os.kill(restoring.pid, signal.SIGKILL)
    assert restoring.returncode == -signal.SIGKILL, "it was in the middle of writing"
    with closing(Store.at(path)) as store:
        found = store.last_event_id()
        assert found in (backed_up, present)
        assert len(store.events(limit=100_000)) == found
        assert {record.message for record in store.machines().values()} == {
            ("a" if found == backed_up else "b") * 800
        }
        assert store.record_state(report()).version == 1
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
