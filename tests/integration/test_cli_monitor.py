# SPDX-License-Identifier: GPL-3.0-or-later
"""`kubestead monitor` and `events --follow`, in a real terminal, on a State API that comes and goes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.terminal import Terminal
from tests.unit.api_sample import CP, WORKER, Files, Running, running
from tests.unit.cli_sample import COMMAND


@dataclass(frozen=True)
class SamePort(Files):
    """What the API is started on again, at the address that it had."""

    port: int

    @classmethod
    def of(cls, files: Files, api: Running) -> SamePort:
        """The same files, and the port of `api`."""
        return cls(files.token, files.database, files.registry, int(api.url.rpartition(":")[2]))

    def arguments(self, port: int) -> list[str]:
        """The command that starts the API."""
        return super().arguments(self.port)


ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files.make(tmp_path)


@pytest.fixture
def api(files: Files) -> Iterator[Running]:
    with running(files) as program:
        yield program


def environment(api: Running, files: Files) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES", "NO_COLOR")}
    return {**kept, "KUBESTEAD_API_URL": api.url, "KUBESTEAD_API_TOKEN_FILE": str(files.token)}


def monitor(api: Running, files: Files, columns: int = 80, lines: int = 24) -> Terminal:
    return Terminal([*COMMAND, "monitor"], environment(api, files), columns, lines)


def many(files: Files, number: int) -> None:
    """A registry of many machines."""
    files.registry.write_text(
        json.dumps(
            {
                f"52:54:00:78:{index // 256:02x}:{index % 256:02x}": {
                    "hostname": f"node-{index:03}",
                    "role": "worker",
                    "architecture": "amd64",
                }
                for index in range(number)
            }
        )
    )


def test_it_shows_changes_as_they_come_and_gives_the_terminal_back(api: Running, files: Files) -> None:
    with monitor(api, files) as terminal:
        terminal.wait_for_text("worker-1")
        terminal.wait_for_text("2 machines  2 not reported")
        api.client().report_state(
            WORKER, "provisioning", phase="prepare", progress=10, message="came [up] \x1b[2J"
        )
        terminal.wait_for_text("came [up] \N{REPLACEMENT CHARACTER}[2J")
        terminal.wait_for_text("1 provisioning")
        assert ENTER in terminal.raw
        assert terminal.settings() != terminal.before
        terminal.press("q")
        assert terminal.wait_for_end() == 0
        assert terminal.raw.rstrip().endswith(LEAVE)
        assert terminal.settings() == terminal.before


def test_ctrl_c_ends_it(api: Running, files: Files) -> None:
    with monitor(api, files) as terminal:
        terminal.wait_for_text("worker-1")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.wait_for_end() == 130
        assert LEAVE in terminal.raw
        assert terminal.settings() == terminal.before


def test_a_signal_gives_the_terminal_back(api: Running, files: Files) -> None:
    with monitor(api, files) as terminal:
        terminal.wait_for_text("worker-1")
        terminal.process.terminate()
        assert terminal.wait_for_end() == 128 + signal.SIGTERM
        assert LEAVE in terminal.raw
        assert terminal.settings() == terminal.before


def test_it_can_be_stopped_and_taken_up_again(api: Running, files: Files) -> None:
    with monitor(api, files) as terminal:
        terminal.wait_for_text("worker-1")
        terminal.process.send_signal(signal.SIGTSTP)  # as Ctrl-Z does
        terminal.wait_for(lambda: LEAVE in terminal.raw, "the shell's own screen")
        terminal.process.send_signal(signal.SIGCONT)
        terminal.wait_for(lambda: terminal.raw.count(ENTER) == 2, "the monitor's screen")
        terminal.wait_for_text("worker-1")
        terminal.press("q")
        assert terminal.wait_for_end() == 0


def test_many_machines_are_scrolled_filtered_and_searched(files: Files) -> None:
    many(files, 200)
    with running(files) as api:
        api.client().report_state("52:54:00:78:00:96", "provisioning")
        api.client().report_state("52:54:00:78:00:96", "failed", error="no disk")
        with monitor(api, files) as terminal:
            terminal.wait_for_text("1-19 of 200")
            terminal.wait_for_text("node-018")
            assert len(terminal.lines) == 24
            assert all(len(line) <= 80 for line in terminal.lines)
            terminal.press("\x1b[B")
            terminal.wait_for_text("2-20 of 200")
            terminal.press("\x1b[6~")
            terminal.wait_for_text("21-39 of 200")
            terminal.press("\x1b[F")
            terminal.wait_for_text("182-200 of 200")
            terminal.press("\x1b[H")
            terminal.wait_for_text("1-19 of 200")
            terminal.press("f")
            terminal.wait_for_text("1-1 of 1, failed only")
            assert "no disk" in terminal.lines[4]
            terminal.press("f/node-10")
            terminal.wait_for_text("search: node-10")
            terminal.press("9\r")
            terminal.wait_for_text("1-1 of 1, with “node-109”")
            terminal.press("\x1b")
            terminal.wait_for_text("1-19 of 200")


def test_it_follows_the_size_of_the_terminal(files: Files) -> None:
    many(files, 50)
    with running(files) as api, monitor(api, files) as terminal:
        terminal.wait_for_text("1-19 of 50")
        assert not any("52:54:00" in line for line in terminal.lines), "no room for it"
        terminal.resize(160, 40)
        terminal.wait_for_text("1-35 of 50")
        terminal.wait_for_text("52:54:00:78:00:00")
        terminal.resize(60, 12)
        terminal.wait_for_text("1-7 of 50")
        assert all(len(line) <= 60 for line in terminal.lines)


def test_it_outlives_the_api(files: Files) -> None:
    with running(files) as api:
        terminal = monitor(api, files, columns=160)
        terminal.__enter__()
        try:
            terminal.wait_for_text("worker-1")
        except BaseException:
            terminal.__exit__(None, None, None)
            raise
    with terminal:
        terminal.wait_for_text("no connection, shown is what was said last")
        terminal.wait_for_text("worker-1")
        with running(SamePort.of(files, api)):
            api.client().report_state(CP, "provisioning", message="after the interruption")
            terminal.wait_for_text("after the interruption")
            terminal.wait_for(
                lambda: not any("no connection" in line for line in terminal.lines), "the connection"
            )
            terminal.press("q")
            assert terminal.wait_for_end() == 0


def test_an_invalid_registry_is_shown(api: Running, files: Files) -> None:
    with monitor(api, files) as terminal:
        terminal.wait_for_text("worker-1")
        files.registry.write_text("{")
        terminal.wait_for_text("registry invalid")
        terminal.wait_for_text("worker-1")


def test_no_colour_where_none_is_wanted(api: Running, files: Files) -> None:
    api.client().report_state(CP, "provisioning")
    api.client().report_state(CP, "failed", error="no disk")
    colour = re.compile(rb"\x1b\[(?:[0-9]+;)*3[0-7]m")
    for wanted in ({}, {"NO_COLOR": "1"}):
        with Terminal([*COMMAND, "monitor"], {**environment(api, files), **wanted}) as terminal:
            terminal.wait_for_text("no disk")
            assert bool(colour.search(terminal.raw)) is not bool(wanted)


def test_events_are_followed_across_a_restart(files: Files) -> None:
    seen: list[dict[str, object]] = []
    arrived = threading.Condition()

    def read(process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            with arrived:
                seen.append(json.loads(line))
                arrived.notify_all()

    def wait_for(message: str) -> None:
        with arrived:
            assert arrived.wait_for(lambda: message in [event["message"] for event in seen], 30), seen

    with running(files) as api:
        api.client().report_state(CP, "provisioning", message="before")
        api.client().report_state(WORKER, "provisioning", message="another machine")
        process = subprocess.Popen(
            [*COMMAND, "events", "cp-1", "--follow", "--json"],
            env=environment(api, files),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            threading.Thread(target=read, args=[process], daemon=True).start()
            wait_for("before")
            api.client().report_state(CP, "provisioning", message="while it looks")
            wait_for("while it looks")
        except BaseException:
            process.kill()
            raise
    try:
        with running(SamePort.of(files, api)):
            for number in range(5):
                api.client().report_state(CP, "provisioning", message=f"after {number}")
            wait_for("after 4")
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 130
    finally:
        process.kill()
        process.wait()
    assert [event["message"] for event in seen] == [
        "before",
        "while it looks",
        *(f"after {number}" for number in range(5)),
    ], "each once, in their order, none left out, those of another machine not shown"
    assert process.stderr is not None
    assert "Waiting for it" in process.stderr.read()
