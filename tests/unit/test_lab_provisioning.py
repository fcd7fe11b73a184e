# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs side by side told as one, and what a machine said last."""

from __future__ import annotations

from pathlib import Path

from kubestead.deploy import Outcome
from kubestead.exit_codes import ExitCode
from lab.provisioning import together
from lab.serial_text import last_lines


def outcome(code: ExitCode, failure: str = "", **phases: float) -> Outcome:
    """A run with these phases."""
    return Outcome(
        code,
        {
            "phases": [
                {"name": name, "seconds": seconds, "ok": not failure} for name, seconds in phases.items()
            ],
            "hosts": {"node": {"ok": 2, "changed": 1, "round_trips": 3}},
            "failure": {"host": "node", "message": failure} if failure else None,
        },
    )


def test_runs_are_told_as_one() -> None:
    cluster = outcome(ExitCode.DONE, prepare=2.0, join=1.5)
    told = together(
        [cluster, outcome(ExitCode.DONE, state_api=4.0, provision=9.5), outcome(ExitCode.DONE, prepare=3.0)]
    )
    assert told.code == ExitCode.DONE
    assert not told.message
    assert [(phase["name"], phase["seconds"]) for phase in told.summary["phases"]] == [
        ("state_api", 4.0),
        ("provision", 9.5),
        ("prepare", 5.0),
        ("join", 1.5),
    ]
    assert told.summary["hosts"] == {"node": {"ok": 6, "changed": 3, "round_trips": 9}}


def test_the_first_run_that_failed_says_why() -> None:
    done = outcome(ExitCode.DONE, prepare=1)
    failed = outcome(ExitCode.FAILED, "the disk is too small", provision=1)
    without = outcome(ExitCode.NO_SOFTWARE, "no Kubernetes", prepare=1)
    assert together([done, failed]).message == "node: the disk is too small"
    assert together([done, failed]).code == ExitCode.FAILED
    assert together([without, failed]).code == ExitCode.NO_SOFTWARE
    assert together([done, Outcome(ExitCode.INTERRUPTED, {})]).code == ExitCode.INTERRUPTED


def test_what_a_serial_port_said_is_shown_as_plain_text(tmp_path: Path) -> None:
    log = tmp_path / "serial.log"
    log.write_bytes(b"SeaBIOS\r\n\x1b[2J\x1b[1;31mred\x1b[0m\r\n\r\n  a\x07b\xff  \r\nlast")
    assert last_lines(log) == ["SeaBIOS", "red", "  ab\ufffd", "last"]
    assert last_lines(log, 1) == ["last"]
    log.write_bytes(b"x" * (1 << 20) + b"\nend")
    assert last_lines(log)[-1] == "end"
