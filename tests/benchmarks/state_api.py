# SPDX-License-Identifier: GPL-3.0-or-later
"""What the State API can take: `python tests/benchmarks/state_api.py [--seconds 60] [--only PART…]`.

Starts the real program, plain HTTP, SQLite on disk, and compares within one run, so that the ratios depend
little on the computer:

durable   reports of 200 machines at once, each answered when it is on disk, against the commits of the same
          rows that bare sqlite3 reaches in one thread with the same settings (goal: 0.5 or more)
steady    1,000 machines that report once a second: errors (goal: none), p50, p99
viewers   reports of 200 machines while 1,000 event streams are open, against those without (goal: 0.8)

All comes from one address; the limit of requests per address is set out of the way.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from kubestead.model.state_api_client import StateApiClient, StateApiUnreachableError
from kubestead.store import Store

LOAD = Path(__file__).with_name("state_api_load.py")
DURABLE_MACHINES, STEADY_MACHINES = 200, 1000
ROUNDS = 3
PARTS = ("durable", "steady", "viewers")


@dataclass(frozen=True)
class Api:
    """The program, running."""

    port: int
    process: subprocess.Popen[bytes]
    tokens: Path

    def cpu_seconds(self) -> float:
        """What it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def load(self, what: str, *arguments: object) -> list[str]:
        """The command for machines or viewers."""
        command = [sys.executable, str(LOAD), what, "--port", str(self.port), "--tokens", str(self.tokens)]
        return [*command, *map(str, arguments)]

    def machines(self, count: int, seconds: float, pace: float = 0) -> dict[str, Any]:
        """Let machines report."""
        before = self.cpu_seconds()
        command = self.load("machines", "--count", count, "--seconds", seconds, "--pace", pace)
        result: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        result["cpu_us"] = (self.cpu_seconds() - before) / max(1, result["answered"]) * 1e6
        return result

    @contextmanager
    def viewers(self, count: int) -> Iterator[dict[str, Any]]:
        """Let viewers look on; what they have seen is there after the block."""
        command = self.load("viewers", "--count", count)
        seen: dict[str, Any] = {}
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as viewers:
            assert viewers.stdout is not None
            assert viewers.stdout.readline() == "ready\n"
            yield seen
            out, _ = viewers.communicate("")
            seen.update(json.loads(out))


def mac(number: int) -> str:
    """One of very many."""
    return f"52:54:00:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"


@contextmanager
def running(folder: Path, machines: int, program: list[str]) -> Iterator[Api]:
    """Start the program on a registry of so many machines, each with a token of its own."""
    host_token, registry, tokens = folder / "token", folder / "registry.json", folder / "tokens.json"
    host_token.touch(mode=0o600)
    host_token.write_text(secret := os.urandom(16).hex())
    entries = {
        mac(number): {"hostname": f"node-{number}", "role": "worker", "architecture": "amd64"}
        for number in range(machines)
    }
    registry.write_text(json.dumps(entries))
    with closing(Store.at(folder / "machines.db")) as store:
        made = {each: store.create_token(f"of {each}", "machine", each)[1] for each in entries}
        _, viewer = store.create_token("viewer", "read")
    tokens.write_text(json.dumps(made))
    (folder / "viewer.json").write_text(json.dumps({"viewer": viewer}))
    port = free_port()
    command = [*program, "--port", str(port), "--token-file", str(host_token), "--rate", "1000000"]
    command += ["--database", str(folder / "machines.db"), "--registry", str(registry)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stderr=log)
    try:
        wait_for(StateApiClient(f"http://127.0.0.1:{port}", secret), process, folder / "log")
        yield Api(port, process, tokens)
    finally:
        process.terminate()
        process.wait(30)


def wait_for(client: StateApiClient, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the API answers."""
    while True:
        try:
            client.health()
        except StateApiUnreachableError:
            if process.poll() is not None:
                sys.exit(log.read_text())
            time.sleep(0.1)
        else:
            client.close()
            return


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def bare_commits(folder: Path, machines: int, seconds: float) -> float:
    """Commits a second of the rows of one report each, in one thread."""
    Store.at(folder / "bare.db").close()
    now = datetime.now(timezone.utc).replace(tzinfo=None).isoformat(" ")
    machine = "INSERT OR REPLACE INTO machines (mac, state, phase, progress, message, updated_at, since, "
    machine += "deadline_at, locked, version, address, install_attempts) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)"
    event = "INSERT INTO events (at, kind, mac, state, previous_state, phase, progress, message, features, "
    event += "actor, correlation_id) VALUES (?,?,?,?,?,?,?,?,?,?,?)"
    with closing(sqlite3.connect(folder / "bare.db", isolation_level=None)) as connection:
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",
            "foreign_keys = ON",
            "busy_timeout = 5000",
        ):
            connection.execute(f"PRAGMA {pragma}")
        commits, began = 0, time.perf_counter()
        while (took := time.perf_counter() - began) < seconds:
            of, progress = mac(commits % machines), commits % 100
            connection.execute("BEGIN IMMEDIATE")
            row = (of, "provisioning", "prepare", progress, "packages", now, now, now, False, commits)
            connection.execute(machine, (*row, "127.0.0.1", 0))
            told = (now, "report", of, "provisioning", "provisioning", "prepare", progress, "packages", "{}")
            connection.execute(event, (*told, f"of {of}", f"0123456789ab-{commits:x}"))
            connection.execute("COMMIT")
            commits += 1
    return commits / took


def durable(folder: Path, seconds: float, program: list[str]) -> None:
    """Reports against bare commits; those before and after, for the computer may have other things to do."""
    before = bare_commits(folder, DURABLE_MACHINES, seconds / 2)
    with running(folder, DURABLE_MACHINES, program) as api:
        reports = api.machines(DURABLE_MACHINES, seconds)
    after = bare_commits(folder, DURABLE_MACHINES, seconds / 2)
    bare = (before + after) / 2
    print(f"durable: bare sqlite3         {bare:8.0f} commits/s ({before:.0f} before, {after:.0f} after)")
    tell("durable: POST /api/state", reports)
    print(f"durable: ratio                {reports['a_second'] / bare:8.2f} (goal: 0.5 or more)", flush=True)


def steady(folder: Path, seconds: float, program: list[str]) -> None:
    """Machines that report once a second."""
    with running(folder, STEADY_MACHINES, program) as api:
        tell("steady: 1 report/s each", api.machines(STEADY_MACHINES, seconds, pace=1))


def viewers(folder: Path, seconds: float, count: int, program: list[str]) -> None:
    """Reports with viewers and without, in turns, for the computer may have other things to do."""
    alone, with_them = [], []
    with running(folder, DURABLE_MACHINES, program) as api:
        for _ in range(ROUNDS):
            alone.append(api.machines(DURABLE_MACHINES, seconds / 2))
            with watched(api, folder, count) as seen:
                with_them.append(api.machines(DURABLE_MACHINES, seconds))
            alone.append(api.machines(DURABLE_MACHINES, seconds / 2))
            tell("viewers: none", alone[-1])
            tell(f"viewers: {count}", with_them[-1])
            print(
                f"viewers: they have seen       {seen['frames']} frames each, {seen['bytes'] / 1e6:.0f} MB; ",
                end="",
            )
            print(f"{seen['refused']} refused, {seen['lost']} lost")
    without, within = (
        sum(each["a_second"] for each in several) / len(several) for several in (alone, with_them)
    )
    print(f"viewers: ratio                {within / without:8.2f} (goal: 0.8 or more)", flush=True)


@contextmanager
def watched(api: Api, folder: Path, count: int) -> Iterator[dict[str, Any]]:
    """Viewers with a token that only reads."""
    with Api(api.port, api.process, folder / "viewer.json").viewers(count) as seen:
        yield seen


def tell(what: str, result: dict[str, Any]) -> None:
    """Print one measurement."""
    print(
        f"{what:<29} {result['a_second']:8.0f} reports/s, p50 {result['p50_ms']:.1f} ms, "
        f"p99 {result['p99_ms']:.1f} ms, most {result['max_ms']:.0f} ms, {result['errors']} errors, "
        f"{result['cpu_us']:.0f} µs of the API's CPU each",
        flush=True,
    )
    if result["first_error"]:
        print(f"    the first error: {result['first_error']}")


def main() -> None:
    """Measure what is asked for, and print."""
    parser = argparse.ArgumentParser(description="What the State API can take.")
    parser.add_argument("--seconds", type=float, default=60, help="of the steady part (%(default)s)")
    parser.add_argument("--each", type=float, default=10, help="of each other measurement (%(default)s)")
    parser.add_argument("--viewers", type=int, default=1000)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--profile", type=Path, help="run the API under cProfile and write its figures here")
    options = parser.parse_args()
    program = [sys.executable, "-m", "kubestead.api"]
    if options.profile:
        program[1:1] = ["-m", "cProfile", "-o", str(options.profile)]
    for part in options.only:
        with tempfile.TemporaryDirectory(prefix=f"state-api-{part}-") as name:
            folder = Path(name)
            if part == "durable":
                durable(folder, options.each, program)
            elif part == "steady":
                steady(folder, options.seconds, program)
            else:
                viewers(folder, options.each, options.viewers, program)


if __name__ == "__main__":
    main()
