# SPDX-License-Identifier: GPL-3.0-or-later
"""How Kubernetes' own tests are chosen, dealt out and told of."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import Lab
from tests.conformance import suite
from tests.conformance.suite import LEFT_OUT, Group, Outcome, Suite

NAME = re.compile(r"\[sig-[a-z-]+\] .+ \[Conformance\]")


def spec(name: str, state: str, message: str = "", seconds: float = 1.5) -> dict[str, Any]:
    """A test in Ginkgo's report."""
    *containers, leaf = name.split(" | ")
    found = {
        "ContainerHierarchyTexts": containers or None,
        "LeafNodeText": leaf,
        "State": state,
        "RunTime": int(seconds * 1e9),
    }
    return found | ({"Failure": {"Message": message}} if message else {})


def test_a_report_is_read_by_name(tmp_path: Path) -> None:
    """Those that were not asked for do not count; those that were not begun are named."""
    specs = [
        spec("[sig-x] DNS | answers [Conformance]", "passed"),
        spec("[sig-x] DNS | fails [Conformance]", "timedout", "no answer"),
        spec("[sig-x] DNS | will not [Conformance]", "skipped", "needs two nodes"),
        spec("[sig-x] DNS | waits [Conformance]", "skipped"),
        spec("[sig-x] DNS | of others [Conformance]", "passed"),
    ]
    (tmp_path / "report.json").write_text(json.dumps([{"SpecReports": specs}]), encoding="utf-8")
    names = [f"[sig-x] DNS {word} [Conformance]" for word in ("answers", "fails", "will not", "waits")]
    outcome = suite.read_report(tmp_path / "report.json", names)
    assert outcome.passed == {names[0]: 1.5}
    assert outcome.failed == {names[1]: "no answer"}
    assert outcome.skipped == {names[2]: "needs two nodes"}
    assert outcome.unheard == [names[3]]
    told = outcome.summary()
    assert told.startswith("1 passed, 1 failed, 1 skipped themselves, 0 s\n")
    for word in (names[1], "no answer", "needs two nodes", names[3]):
        assert word in told


def test_without_a_report_nothing_was_heard_of(tmp_path: Path) -> None:
    """The program was killed, or did not start."""
    assert suite.read_report(tmp_path / "none.json", ["one"]).unheard == ["one"]


def test_what_is_left_out_says_why() -> None:
    """In expressions that are right; the few are none of them, on control groups of either version."""
    few = suite.few()
    assert all(NAME.fullmatch(name) for name in few)
    assert len(set(few)) == len(few)
    for entry in yaml.safe_load(LEFT_OUT.read_text(encoding="utf-8")):
        assert entry["why"]
        group = Group(entry["why"], tuple(entry["tests"]))
        assert group.tests
        assert not [name for name in few if group.has(name)]
    assert suite.groups()


def test_an_expression_has_just_its_tests() -> None:
    """Signs that mean something in expressions are themselves; a longer name is another test."""
    focus = suite.pattern(["DNS should (work) [Conformance]", 'cat "/tmp/health" *now*'])
    assert re.search(focus, "Kubernetes e2e suite DNS should (work) [Conformance]")
    assert re.search(focus, 'Kubernetes e2e suite cat "/tmp/health" *now*')
    assert not re.search(focus, "Kubernetes e2e suite DNS should (work) [Conformance] twice")


@pytest.mark.parametrize(("number", "expected"), [(2, [["a", "c"], ["b"]]), (5, [["a"], ["b"], ["c"]])])
def test_neighbours_go_to_different_processes(number: int, expected: list[list[str]]) -> None:
    """And none is without work."""
    assert suite.shares(["a", "b", "c"], number) == expected


PROGRAM = """\
import json, re, sys
if sys.argv[1:] == ["--list-conformance-tests"]:
    print("- codename: '[sig-x] one [Conformance]'\\n  release: v1.9")
    sys.exit()
options = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
print("endless")
specs = []
for name in ("one", "two [Serial]", "three"):
    text = f"[sig-x] {name} [Conformance]"
    state = "passed" if re.search(options["--ginkgo.focus"], "suite " + text) else "skipped"
    specs.append({"ContainerHierarchyTexts": None, "LeafNodeText": text, "State": state, "RunTime": 10**9})
with open(options["--ginkgo.json-report"], "w") as report:
    json.dump([{"SpecReports": specs}], report)
"""


def test_tests_that_want_to_be_alone_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After all others, in one process; each process has a log of its own."""
    program = tmp_path / "e2e.test"
    program.write_text(f"#!{sys.executable}\n{PROGRAM}", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setattr(Lab, "network_argv", lambda _, words: list(words))
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    tests = Suite(program, Lab("unit-conformance"), tmp_path / "kubeconfig", tmp_path / "logs")
    assert tests.names() == ["[sig-x] one [Conformance]"]
    names = [f"[sig-x] {name} [Conformance]" for name in ("one", "two [Serial]", "three")]
    outcome = tests.run(names, 60)
    assert sorted(outcome.passed) == sorted(names)
    assert (outcome.failed, outcome.skipped, outcome.unheard) == ({}, {}, [])
    logs = sorted(path.name for path in (tmp_path / "logs").glob("*.log"))
    assert logs == ["alone-1.log", "share-1.log", "share-2.log"]


def test_outcomes_add_up() -> None:
    """Names and time."""
    one = Outcome(passed={"a": 1.0}, seconds=2)
    one.add(Outcome(failed={"b": "why"}, unheard=["c"], seconds=3))
    assert one == Outcome({"a": 1.0}, {"b": "why"}, {}, ["c"], 5)
