# SPDX-License-Identifier: GPL-3.0-or-later
"""What `./deploy.sh` makes of a run: its exit code, and who was left out."""

from __future__ import annotations

from typing import Any

import pytest

from kubestead import deploy
from kubestead.deploy import Outcome
from kubestead.exit_codes import ExitCode

GOOD = {"failed": 0, "unreachable": 0}
SILENT = {"host": "w-2", "kind": "host_unreachable", "phase": None, "task": "Ask", "message": "no route"}
SMALL = {"host": "w-2", "kind": "phase_failed", "phase": None, "task": "Ask", "message": "900 MiB"}


def run(failure: dict[str, Any], *phases: str, ok: bool = True) -> dict[str, Any]:
    """The summary of a run in which one worker of two failed."""
    return {
        "phases": [{"name": name, "ok": ok or name != phases[-1]} for name in phases],
        "hosts": {"cp-1": GOOD, "w-2": {"failed": 1, "unreachable": 0}},
        "failure": failure,
        "failures": [failure, {**failure, "message": "again"}],
    }


@pytest.mark.parametrize(
    ("summary", "code"),
    [
        (run(SILENT), ExitCode.FAILED),
        (run(SMALL), ExitCode.WRONG_INPUT),
        (run(SMALL, "prepare", "validate"), ExitCode.FAILED),
        (run({**SMALL, "phase": "join"}, "join", "validate"), ExitCode.FAILED),
        ({}, ExitCode.WRONG_INPUT),
    ],
)
def test_the_exit_code_says_whether_the_input_was_at_fault(summary: dict[str, Any], code: ExitCode) -> None:
    assert deploy._exit_code(2, False, summary) == code


def test_a_machine_that_was_left_out_is_named_with_its_first_reason() -> None:
    summary = run(SILENT, "prepare", "validate")
    assert deploy._left_out(Outcome(ExitCode.FAILED, summary)) == ["w-2: no route"]


@pytest.mark.parametrize(
    "summary", [run(SMALL), run({**SMALL, "phase": "join"}, "prepare", "join", ok=False)]
)
def test_a_run_that_did_not_go_on_left_nobody_out(summary: dict[str, Any]) -> None:
    assert deploy._left_out(Outcome(ExitCode.FAILED, summary)) == []


@pytest.mark.parametrize("word", ["prepare", "control-plane", "tokens", "join", "network", "validate"])
def test_each_phase_has_the_word_that_people_know(word: str) -> None:
    options = deploy._parser().parse_args([word])
    assert (deploy.CHECKOUT / "playbooks" / f"{deploy.PHASES[options.command]}.yml").is_file()
