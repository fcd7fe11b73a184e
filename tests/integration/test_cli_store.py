# SPDX-License-Identifier: GPL-3.0-or-later
"""`kubestead backup`, `restore` and `store move` on real stores."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.postgresql import postgresql
from tests.unit.api_sample import CP, WORKER, Files, running
from tests.unit.cli_sample import kubestead


@pytest.fixture
def files(tmp_path: Path) -> Files:
    folder = tmp_path / "api"
    folder.mkdir()
    return Files.make(folder)


def test_a_backup_is_put_back(files: Files, tmp_path: Path) -> None:
    copy, second = tmp_path / "copy.backup", tmp_path / "second.backup"
    with running(files) as api:
        options = ("--api-url", api.url, "--token-file", files.token)
        api.client().report_state(CP, "provisioning", message="before the backup")
        done = kubestead("backup", copy, *options, "--json")
        assert (done.code, done.json) == (0, {"file": str(copy), "bytes": copy.stat().st_size})
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600
        assert kubestead("backup", second, "--database", files.database).code == 0
        api.client().report_state(CP, "failed", error="after the backup")
        refused = kubestead("restore", copy, "--database", files.database, "--yes")
        assert (refused.code, "in use" in refused.err, "systemctl stop" in refused.err) == (1, True, True)
        assert kubestead("backup", copy, *options).code == 1, "no file is replaced"
    for backup in (copy, second):
        asked = kubestead("restore", backup, "--database", files.database)
        assert (asked.code, "--yes" in asked.err) == (2, True)
        assert kubestead("restore", backup, "--database", files.database, "--yes").code == 0
        with running(files) as api:
            assert api.client().machine(CP)["message"] == "before the backup"
            api.client().report_state(CP, "failed", error="after the backup")


def test_what_is_no_backup_is_refused(files: Files, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("hello")
    done = kubestead("restore", wrong, "--database", files.database, "--yes")
    assert (done.code, "is no backup" in done.err, files.database.exists()) == (1, True, False)
    assert kubestead("restore", tmp_path / "gone", "--database", files.database, "--yes").code == 3
    both = ("--database", files.database, "--database-url-file", wrong)
    assert kubestead("restore", wrong, *both).code == 2
    assert kubestead("backup", tmp_path / "copy", "--database", tmp_path / "gone").code == 1
    assert kubestead("backup", tmp_path / "no" / "folder", "--database", files.database).code == 3


def test_a_backup_that_breaks_off_leaves_no_file(files: Files, tmp_path: Path) -> None:
    copy = tmp_path / "copy.backup"
    done = kubestead("backup", copy, "--api-url", "http://127.0.0.1:1", "--token-file", files.token)
    assert (done.code, list(tmp_path.glob("*copy*"))) == (3, [])


def test_a_store_moves_to_another_database(files: Files, tmp_path: Path) -> None:
    with running(files) as api:
        api.client().report_state(WORKER, "provisioning")
        done = kubestead("store", "move", files.database, tmp_path / "new.db")
        assert (done.code, "in use" in done.err) == (1, True)
    url = tmp_path / "url"
    url.write_text(f"sqlite:///{tmp_path}/new.db\n")
    url.chmod(0o600)
    done = kubestead("store", "move", files.database, url, "--json")
    assert (done.code, done.json["rows"]["machines"], done.err) == (0, 1, "")
    moved = Files(files.token, tmp_path / "new.db", files.registry)
    with running(moved) as api:
        assert api.client().machine(WORKER)["state"] == "provisioning"
    full = kubestead("store", "move", files.database, tmp_path / "new.db")
    assert (full.code, "not empty" in full.err) == (1, True)


def test_no_secret_is_taken_from_the_command_line_nor_shown(tmp_path: Path) -> None:
    url = "postgresql://operator:hunter2@127.0.0.1:1/machines"
    done = kubestead("store", "move", url, tmp_path / "new.db")
    assert (done.code, "hunter2" in done.err) == (2, False)
    file = tmp_path / "url"
    file.write_text(url)
    file.chmod(0o644)
    done = kubestead("store", "move", file, tmp_path / "new.db")
    assert (done.code, "hunter2" in done.err, f"chmod 0600 {file}" in done.err) == (1, False, True)
    file.write_text("operator:hunter2@nowhere")
    done = kubestead("backup", tmp_path / "copy", "--database-url-file", file)
    assert (done.code, "hunter2" in done.err) == (2, False)
    assert kubestead("store", "move", tmp_path / "gone.db", tmp_path / "new.db").code == 3
    assert kubestead("store", "move", tmp_path / "url2", tmp_path / "url2").code == 3


@dataclass(frozen=True)
class OnPostgreSQL(Files):
    """An API whose store is in the database that a file names."""

    url_file: Path

    def arguments(self, port: int) -> list[str]:
        """The command that starts it."""
        return [*super().arguments(port), "--database-url-file", str(self.url_file)]


def test_a_store_moves_to_postgresql_and_is_backed_up_there(files: Files, tmp_path: Path) -> None:
    with running(files) as api:
        api.client().report_state(WORKER, "provisioning", message="on SQLite")
    with postgresql() as server:
        url = tmp_path / "url"
        url.touch(0o600)
        url.write_text(server.url(server.new_database()))
        done = kubestead("store", "move", files.database, url)
        assert (done.code, "holds the 1 machines and 1 events" in done.out, done.err) == (0, True, "")
        copies = [tmp_path / "by-api", tmp_path / "straight"]
        with running(OnPostgreSQL(files.token, files.database, files.registry, url)) as api:
            assert api.client().machine(WORKER)["message"] == "on SQLite"
            options = ("--api-url", api.url, "--token-file", files.token)
            assert kubestead("status", *options, "--json").json["api"]["store"] == "postgresql"
            assert kubestead("backup", copies[0], *options).code == 0
            assert kubestead("backup", copies[1], "--database-url-file", url).code == 0
            api.client().report_state(WORKER, "failed", error="after the backup")
            refused = kubestead("restore", copies[0], "--database-url-file", url, "--yes")
            assert (refused.code, "in use" in refused.err) == (1, True)
        for copy in copies:
            assert kubestead("restore", copy, "--database-url-file", url, "--yes").code == 0
        with running(OnPostgreSQL(files.token, files.database, files.registry, url)) as api:
            assert api.client().machine(WORKER)["message"] == "on SQLite"
