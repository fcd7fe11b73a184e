# SPDX-License-Identifier: GPL-3.0-or-later
"""A PostgreSQL server of one's own for tests: in a folder, behind a socket, durable as installed."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

from tests.integration.needs import require

USER = "kubestead"
PASSWORD = "/".join(["an:odd", "pass@word%"])  # what a URL must quote


class PostgreSQL:
    """A server that can be stopped, killed and started again."""

    def __init__(self, folder: Path) -> None:
        """Make the cluster's files in `folder`; nothing runs yet."""
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        initdb = require(str(found[-1]) if found else "initdb", "postgresql")
        self._bin = Path(initdb).parent
        self._data = folder / "data"
        self._numbers = count(1)
        self._again: str | None = None
        self.socket = folder
        self._owner: dict[str, Any] = {}
        if os.geteuid() == 0:  # the server refuses to run as root
            owner = _somebody()
            os.chown(folder, owner.pw_uid, owner.pw_gid)
            self._owner = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
        password = folder / "password"
        password.write_text(PASSWORD)
        self._run(
            "initdb", "-D", str(self._data), "-U", USER, "-A", "scram-sha-256", "--pwfile", str(password)
        )
        settings = ["listen_addresses = ''", f"unix_socket_directories = '{folder}'", "max_connections = 200"]
        with (self._data / "postgresql.conf").open("a") as configuration:
            configuration.write("\n".join([*settings, ""]))

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._run("pg_ctl", "-D", str(self._data), "-w", "-l", str(self.socket / "log"), "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop it; `immediate` is as if the power had gone."""
        self._run("pg_ctl", "-D", str(self._data), "-w", "-m", mode, "stop")

    def url(self, database: str) -> str:
        """The URL of a database, as a user writes it."""
        return f"postgresql://{USER}:an%3Aodd%2Fpass%40word%25@/{database}?host={self.socket}"

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """A connection past the code under test."""
        return psycopg.connect(
            dbname=database, user=USER, password=PASSWORD, host=str(self.socket), autocommit=True
        )

    def new_database(self) -> str:
        """Make an empty database; give its name."""
        name = f"store{next(self._numbers)}"
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return name

    def emptied(self) -> str:
        """One database that is used again and again, emptied; its name. That is quicker than new ones."""
        if self._again is None:
            self._again = self.new_database()
        with self.connect(self._again) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
        return self._again

    def dump(self, database: str, path: Path) -> None:
        """Dump a database as anybody would, past the code under test."""
        command = [str(self._bin / "pg_dump"), "-Fc", "-h", str(self.socket), "-U", USER, "-f", str(path)]
        subprocess.run([*command, database], env={**os.environ, "PGPASSWORD": PASSWORD}, check=True)

    def _run(self, program: str, *arguments: str) -> None:
        # Not into a pipe: the server inherits it, and reading to its end would never end.
        with (self.socket / "output").open("a+") as output:
            done = subprocess.run(
                [str(self._bin / program), *arguments],
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                cwd="/",
                check=False,
                **self._owner,
            )
            if done.returncode:
                output.seek(0)
                raise AssertionError(f"{program} has failed: {output.read()}")


@contextmanager
def postgresql() -> Iterator[PostgreSQL]:
    """A running server, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="kubestead-pg-"))  # a socket's path must be short
    try:
        server = PostgreSQL(folder)
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _somebody() -> pwd.struct_passwd:
    names = {each.pw_name: each for each in pwd.getpwall()}
    return names.get("postgres") or names["nobody"]
