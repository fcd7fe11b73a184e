# SPDX-License-Identifier: GPL-3.0-or-later
"""The State API as a program: what it logs, how it stops, what a kill, a full disk or a lock leaves of it."""

from __future__ import annotations

import json
import signal
import sqlite3
import stat
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kubestead.model.state_api_client import (
    StateApiClient,
    StateApiRefusedError,
    StateApiUnreachableError,
)
from tests.integration.needs import require
from tests.unit.api_sample import BEARER, CP, Files, Running, free_port, running, until

MACHINES = 20


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """With machines that may report."""
    files = Files.make(tmp_path)
    registry = json.loads(files.registry.read_text())
    for number in range(MACHINES):
        entry = {"hostname": f"m-{number}", "role": "worker", "architecture": "amd64"}
        registry[mac_of(number)] = entry
    files.registry.write_text(json.dumps(registry))
    return files


def mac_of(number: int) -> str:
    return f"52:54:00:00:00:{number:02x}"


def all_at_once(work: Callable[[int], Any], count: int = MACHINES) -> list[threading.Thread]:
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    return threads


class Reporters:
    """Machines that report without a break, and remember what was acknowledged."""

    def __init__(self, program: Running) -> None:
        self.acknowledged: dict[str, int] = {}
        self.url = program.url
        self.stopping = False
        self.threads = all_at_once(self._report)

    def _report(self, number: int) -> None:
        client = StateApiClient(self.url, BEARER)
        for count in range(1_000_000):
            if self.stopping:
                return
            try:
                client.report_state(mac_of(number), "provisioning", message=str(count))
            except StateApiUnreachableError:
                return
            self.acknowledged[mac_of(number)] = count

    def wait_for(self, count: int) -> None:
        """Wait until each has been acknowledged so often."""
        until(lambda: len(self.acknowledged) == MACHINES and min(self.acknowledged.values()) > count, 60)

    def end(self) -> None:
        self.stopping = True
        for thread in self.threads:
            thread.join(30)
            assert not thread.is_alive()

    def check(self, program: Running) -> None:
        """Nothing that was acknowledged is lost."""
        states = program.client().states()
        for mac, count in self.acknowledged.items():
            assert int(states[mac]["message"]) >= count


def test_the_program_serves_logs_and_stops(files: Files) -> None:
    with running(files) as program:
        client = StateApiClient(program.url, BEARER, correlation_id="run-1")
        client.report_state(CP, "provisioning", phase="prepare", progress=100)
        assert client.states()[CP]["state"] == "provisioning"
        client.put_data(CP, "k", {"a": 1})
        assert client.data(CP, "k")["value"] == {"a": 1}
        client.close()
        # The file is looked at also while nobody asks.
        files.registry.write_text("{")
        until(lambda: any("is invalid" in line["message"] for line in program.lines()))
        program.process.send_signal(signal.SIGTERM)
        program.process.wait(20)
        lines = program.lines()
    assert {"time", "level", "machine", "correlation_id", "message"} <= set(lines[0])
    assert {"INFO", "ERROR"} <= {line["level"] for line in lines} <= {"INFO", "WARN", "ERROR"}
    posted = next(line for line in lines if line.get("path") == "/api/state")
    assert (posted["machine"], posted["correlation_id"], posted["status"]) == (CP, "run-1", 200)
    assert BEARER not in program.log.read_text()
    assert stat.S_IMODE(files.token.stat().st_mode) == 0o600


def test_acknowledged_reports_survive_a_kill(files: Files) -> None:
    with running(files) as program:
        reporters = Reporters(program)
        reporters.wait_for(5)
        program.process.kill()
        reporters.end()
    with running(files) as program:
        reporters.check(program)
        with sqlite3.connect(files.database) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        database.close()


def test_it_stops_at_once_and_loses_nothing(files: Files) -> None:
    with running(files) as program:
        reporters = Reporters(program)
        streams = [program.client().stream() for _ in range(5)]
        iterators = [iter(stream) for stream in streams]
        for iterator in iterators:
            assert next(iterator).event == "snapshot"
        reporters.wait_for(3)
        started = time.monotonic()
        program.process.send_signal(signal.SIGTERM)

        def read(number: int) -> None:
            with pytest.raises(StateApiUnreachableError):
                for _event in iterators[number]:
                    pass

        readers = all_at_once(read, len(iterators))
        program.process.wait(20)
        took = time.monotonic() - started
        reporters.end()
        for reader in readers:
            reader.join(20)
            assert not reader.is_alive()
        assert took < 8, "open streams are not waited for"
        assert not [line for line in program.lines() if line["level"] == "ERROR"]
    with running(files) as program:
        reporters.check(program)


def test_a_stream_tells_over_the_network(files: Files) -> None:
    with running(files) as program:
        client = program.client()
        events = iter(program.client().stream())
        snapshot = next(events)
        assert snapshot.data["machines"][CP]["hostname"] == "cp-1"
        client.report_state(CP, "provisioning", message="begun")
        change = next(events)
        assert (change.event, change.data["machines"][CP]["message"]) == ("change", "begun")
        client.report_state(CP, "provisioning", message="missed")
        again = iter(program.client().stream(last_id=change.id))
        assert next(again).event == "snapshot"
        assert [event["message"] for event in next(again).data["events"]] == ["missed"]


def test_a_locked_database_is_waited_for(files: Files) -> None:
    with running(files) as program:
        client = program.client()
        client.report_state(CP, "provisioning", message="before")
        other = sqlite3.connect(files.database, isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        threading.Timer(1.0, other.execute, ["ROLLBACK"]).start()
        client.report_state(CP, "provisioning", message="after")
        assert client.states()[CP]["message"] == "after"
        other.close()


def test_two_operators_at_once(files: Files) -> None:
    with running(files) as program:
        client = program.client()
        for _round in range(5):
            seen = client.act(CP, "lock")["version"]
            done: list[int] = []

            def act(_number: int, seen: int = seen, done: list[int] = done) -> None:
                try:
                    program.client().act(CP, "unlock", version=seen)
                except StateApiRefusedError as error:
                    done.append(error.status)
                else:
                    done.append(200)

            for thread in all_at_once(act, 5):
                thread.join()
            assert sorted(done) == [200, 409, 409, 409, 409]


def test_a_full_disk(files: Files, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    files = Files(files.token, small / "machines.db", files.registry)
    script = 'mount -t tmpfs -o size=3m tmpfs "$0" && head -c 1000000 /dev/zero >"$0/ballast" && exec "$@"'
    wrapper = [require("unshare", "util-linux"), "--map-root-user", "--mount", "sh", "-c", script, str(small)]
    if subprocess.run([*wrapper, "true"], capture_output=True, check=False).returncode:
        pytest.skip("a small disk cannot be made here: no mount namespaces")
    with running(files, wrapper=wrapper) as program:
        client = program.client()
        kept: list[str] = []

        def fill() -> None:
            for number in range(100):
                client.put_data(CP, f"k{number}", "x" * 100_000)
                kept.append(f"k{number}")

        with pytest.raises(StateApiRefusedError, match="disk is full") as refused:
            fill()
        assert refused.value.status == 503
        assert "Nothing was written" in str(refused.value)
        assert len(kept) > 3
        # Who only reads goes on, and what was acknowledged is there.
        assert set(client.data_keys(CP)) == set(kept)
        assert client.health()["status"] == "ok"
        # With room again, so does the rest.
        Path(f"/proc/{program.process.pid}/root{small}/ballast").unlink()
        client.put_data(CP, "more", "x" * 100_000)
        client.report_state(CP, "provisioning")
        assert set(client.data_keys(CP)) == {*kept, "more"}


def test_the_program_says_why_it_does_not_start(files: Files, tmp_path: Path) -> None:
    def start(*arguments: str, port: int) -> tuple[int, str]:
        done = subprocess.run(
            [*files.arguments(port), *arguments], capture_output=True, text=True, check=False
        )
        return done.returncode, done.stderr

    with running(files) as program:
        port = int(program.url.rpartition(":")[2])
        code, said = start(port=port)
        assert (code, "taken" in said) == (3, True)
        assert f"cannot listen on 127.0.0.1 port {port}" in said
    code, said = start("--token-file", str(tmp_path / "none"), port=free_port())
    assert (code, "cannot be read" in said) == (3, True)
    code, said = start("--port", "70000", port=1)
    assert (code, "70000 is no port" in said) == (2, True)
    assert "Traceback" not in said
