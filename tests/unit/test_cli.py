# SPDX-License-Identifier: GPL-3.0-or-later
"""The command `kubestead`, as a person or a script runs it, on a real State API."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from kubestead.cli import views
from tests.unit.api_sample import CP, WORKER, Files, Running, free_port, running

COMMAND = [sys.executable, "-c", "from kubestead.cli import main; main()"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files.make(tmp_path_factory.mktemp("api"))


@pytest.fixture(scope="module")
def api(files: Files) -> Iterator[Running]:
    with running(files) as program:
        program.client().report_state(
            CP, "failed", phase="prepare", progress=40, error="no space [left] on /var"
        )
        yield program


@pytest.fixture
def environment(api: Running, files: Files) -> dict[str, str]:
    return {
        **os.environ,
        "KUBESTEAD_API_URL": api.url,
        "KUBESTEAD_API_TOKEN_FILE": str(files.token),
        "COLUMNS": "200",
        "NO_COLOR": "1",
    }


def kubestead(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    return subprocess.run(
        [*COMMAND, *arguments], env=environment, capture_output=True, text=True, check=False
    )


def test_machines_are_listed(environment: dict[str, str]) -> None:
    done = kubestead(environment, "machines", "list")
    assert done.returncode == 0
    heading, first, second = done.stdout.splitlines()
    assert heading.split()[:3] == ["Hostname", "Role", "State"]
    assert first.split()[:5] == ["cp-1", "control-plane", "failed", "prepare", "40"]
    assert first.rstrip().endswith("no space [left] on /var")
    assert second.split()[:4] == ["worker-1", "worker", "not", "reported"]


@pytest.mark.parametrize("arguments", [["machines", "list"], ["machines", "status"], ["monitor", "--once"]])
def test_json_is_what_the_api_says(environment: dict[str, str], api: Running, arguments: list[str]) -> None:
    assert json.loads(kubestead(environment, *arguments, "--json").stdout) == api.client().states()


@pytest.mark.parametrize("name", [CP, "52-54-00-77-00-11", "cp-1", "CP-1"])
def test_one_machine_by_any_name(environment: dict[str, str], name: str) -> None:
    done = kubestead(environment, "machines", "status", name)
    assert done.returncode == 0
    assert "cp-1" in done.stdout
    assert "worker-1" not in done.stdout
    assert "no space [left] on /var" in done.stdout
    assert list(json.loads(kubestead(environment, "machines", "status", name, "--json").stdout)) == [CP]


@pytest.mark.parametrize("name", ["nobody", "52:54:00:00:00:99"])
def test_a_machine_that_is_not_there(environment: dict[str, str], name: str) -> None:
    done = kubestead(environment, "machines", "status", name)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"there is no machine {name} (known: cp-1, worker-1)" in done.stderr


def test_status_sums_up(environment: dict[str, str], api: Running) -> None:
    done = kubestead(environment, "status")
    assert done.returncode == 0
    assert f"at {api.url}: ok, registry ok" in done.stdout
    assert "2 machines  1 failed  1 not reported" in done.stdout
    assert "no space [left] on /var" in done.stdout
    found = json.loads(kubestead(environment, "status", "--json").stdout)
    assert found["states"] == {"failed": 1, "not reported": 1}
    assert list(found["failed"]) == [CP]
    assert found["api"]["url"] == api.url


def test_options_win_over_the_environment(environment: dict[str, str], api: Running, files: Files) -> None:
    astray = {
        **environment,
        "KUBESTEAD_API_URL": "http://127.0.0.1:1",
        "KUBESTEAD_API_TOKEN_FILE": "/nowhere",
    }
    options = ["--api-url", api.url, "--token-file", str(files.token)]
    assert kubestead(astray, "machines", "list", *options).returncode == 0


def test_an_api_that_is_down(environment: dict[str, str]) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    done = kubestead(environment, "status", "--api-url", url)
    assert (done.returncode, done.stdout) == (3, "")
    assert url in done.stderr
    assert "systemctl status machine-state-api" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_token(environment: dict[str, str], tmp_path: Path) -> None:
    wrong = tmp_path / "token"
    wrong.write_text("another-token-altogether\n")
    done = kubestead(environment, "machines", "list", "--token-file", str(wrong))
    assert done.returncode == 1
    assert "401" in done.stderr
    assert str(wrong) in done.stderr
    assert "another-token" not in done.stderr


def test_what_is_missing_or_wrong(environment: dict[str, str]) -> None:
    done = kubestead(environment, "status", "--token-file", "/nowhere/token")
    assert (done.returncode, "/nowhere/token" in done.stderr) == (3, True)
    assert kubestead(environment, "status", "--api-url", "nonsense").returncode == 3
    assert kubestead(environment, "machines", "lits").returncode == 2
    assert kubestead(environment, "monitor", "--json").returncode == 2
    assert kubestead(environment, "api", "--port", "x").returncode == 2


def test_a_reader_that_has_seen_enough(environment: dict[str, str]) -> None:
    command = " ".join(["set -o pipefail;", sys.executable, "-c", "'from kubestead.cli import main; main()'"])
    script = f"{command} machines list | true"
    done = subprocess.run(
        ["bash", "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr


def test_the_monitor_refreshes_until_it_is_interrupted(environment: dict[str, str], api: Running) -> None:
    terminal, inside = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "monitor", "--interval", "0.2"],
        env={**environment, "TERM": "xterm"},
        stdin=inside,
        stdout=inside,
        stderr=inside,
    )
    os.close(inside)
    seen = ""

    def wait_for(text: str) -> None:
        nonlocal seen
        deadline = time.monotonic() + 20
        while text not in seen:
            assert time.monotonic() < deadline, seen
            if select.select([terminal], [], [], 0.2)[0]:
                seen += os.read(terminal, 65536).decode(errors="replace")

    try:
        wait_for("worker-1")
        api.client().report_state(WORKER, "ready", message="came up meanwhile")
        wait_for("came up meanwhile")
        process.send_signal(signal.SIGINT)
        # Read on, or the program could not write its last words.
        deadline = time.monotonic() + 20
        with suppress(OSError):  # the terminal is gone when the program is
            while process.poll() is None and time.monotonic() < deadline:
                if select.select([terminal], [], [], 0.1)[0]:
                    os.read(terminal, 65536)
        assert process.wait(5) == 130
    finally:
        if process.poll() is None:
            process.kill()
        os.close(terminal)


def test_ages_are_said_as_a_person_would() -> None:
    now = datetime(2026, 1, 2, tzinfo=timezone.utc)
    for seconds, words in (
        (0.4, "0 s ago"),
        (59, "59 s ago"),
        (61, "1 min ago"),
        (7300, "2 h ago"),
        (90000, "1 d ago"),
    ):
        assert views.age((now - timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z"), now) == words
    assert views.age(None) == "never"


def test_help_is_quick_and_light() -> None:
    slow = "fastapi, sqlalchemy, uvicorn, alembic, pydantic"
    check = f"import kubestead.cli.app, sys; print([n for n in '{slow}'.split(', ') if n in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", check], text=True).strip() == "[]"
