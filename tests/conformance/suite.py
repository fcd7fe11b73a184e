# SPDX-License-Identifier: GPL-3.0-or-later
"""Kubernetes' own tests against a cluster of the lab: which of them, how they are dealt out, what comes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from lab import Lab, cgroups

HERE = Path(__file__).parent
#: The groups of tests that are not run here, each with the reason.
LEFT_OUT = HERE / "left_out.yml"
#: The few that stand for all of them where ten minutes is all that there is.
FEW = HERE / "few.yml"
#: Seconds for what is under way when the time is up, to clean up and write the report.
GRACE = 180
#: These want the cluster for themselves.
ALONE = "[Serial]"


@dataclass(frozen=True)
class Group:
    """Tests that are left out for one reason."""

    why: str
    tests: tuple[str, ...]

    def has(self, name: str) -> bool:
        """Whether a test belongs to it."""
        return any(re.search(pattern, name) for pattern in self.tests)


@dataclass
class Outcome:
    """What came of some tests, by their names."""

    passed: dict[str, float] = field(default_factory=dict)
    """Seconds."""
    failed: dict[str, str] = field(default_factory=dict)
    """What the test said."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Why the test itself would not run."""
    unheard: list[str] = field(default_factory=list)
    """Those that the program did not come to."""
    seconds: float = 0.0

    def add(self, other: Outcome) -> None:
        """Take in what came of others."""
        self.passed |= other.passed
        self.failed |= other.failed
        self.skipped |= other.skipped
        self.unheard += other.unheard
        self.seconds += other.seconds

    def summary(self) -> str:
        """For a person: the figures in one line, then what was not as it should be."""
        figures = (
            f"{len(self.passed)} passed, {len(self.failed)} failed, {len(self.skipped)} skipped themselves"
        )
        lines = [f"{figures}, {self.seconds:.0f} s"]
        lines += [f"  failed: {name}\n{_indented(text)}" for name, text in sorted(self.failed.items())]
        lines += [f"  skipped: {name}: {text}" for name, text in sorted(self.skipped.items())]
        lines += [f"  never begun or not finished: {name}" for name in self.unheard]
        return "\n".join(lines)


def _indented(text: str) -> str:
    return "\n".join(f"      {line}" for line in text.strip().splitlines()[:12])


def groups(path: Path = LEFT_OUT) -> list[Group]:
    """What is left out on this computer: some groups are only where control groups are of version 1."""
    version = 1 if cgroups.mode() is cgroups.Mode.BARE_V1 else 2
    entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    return [
        Group(entry["why"], tuple(entry["tests"]))
        for entry in entries
        if entry.get("cgroup", version) == version
    ]


def few() -> list[str]:
    """The names of the few."""
    names: list[str] = yaml.safe_load(FEW.read_text(encoding="utf-8"))
    return names


def shares(names: Sequence[str], number: int) -> list[list[str]]:
    """The tests dealt out to so many processes, neighbours (which are of a kind) to different ones."""
    return [list(names[start::number]) for start in range(min(number, len(names)))]


def pattern(names: Iterable[str]) -> str:
    """An expression, as Go understands it, that has just these tests."""
    return f"({'|'.join(map(re.escape, names))})$"


def read_report(path: Path, names: Iterable[str]) -> Outcome:
    """What Ginkgo's report says of these tests; the many that were not asked for are in it too."""
    outcome = Outcome()
    wanted = set(names)
    reports = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    for spec in (spec for report in reports for spec in report["SpecReports"]):
        name = " ".join([*(spec["ContainerHierarchyTexts"] or ()), spec["LeafNodeText"]])
        message = spec.get("Failure", {}).get("Message", "")
        if name not in wanted or (spec["State"] == "skipped" and not message):  # the latter was not begun
            continue
        wanted.discard(name)
        if spec["State"] == "passed":
            outcome.passed[name] = spec["RunTime"] / 1e9
        elif spec["State"] == "skipped":
            outcome.skipped[name] = message
        else:
            outcome.failed[name] = message or spec["State"]
    outcome.unheard = sorted(wanted)
    return outcome


class Suite:
    """The tests of a bundle and the cluster that they are run against."""

    def __init__(self, program: Path, lab: Lab, kubeconfig: Path, folder: Path) -> None:
        """program: `e2e.test` of a bundle, beside its `kubectl`. folder: where logs and reports go."""
        self.program, self.lab, self.kubeconfig, self.folder = program, lab, kubeconfig, folder
        folder.mkdir(parents=True, exist_ok=True)

    def names(self) -> list[str]:
        """All `[Conformance]` tests of this Kubernetes."""
        listed = subprocess.run(
            [self.program, "--list-conformance-tests"], capture_output=True, text=True, check=True
        )
        return [entry["codename"] for entry in yaml.safe_load(listed.stdout)]

    def run(self, names: Sequence[str], seconds: float) -> Outcome:
        """Run tests side by side, then one by one those that want to be alone. seconds: for either."""
        together = [name for name in names if ALONE not in name]
        outcome = Outcome()
        for some, processes in ((together, (os.cpu_count() or 1) + 1), (sorted({*names} - {*together}), 1)):
            if some:
                outcome.add(self._run(some, processes, seconds))
        (self.folder / "passed.json").write_text(json.dumps(outcome.passed, indent=1), encoding="utf-8")
        return outcome

    def _run(self, names: Sequence[str], processes: int, seconds: float) -> Outcome:
        began = time.monotonic()
        running = []
        kind = "alone" if processes == 1 else "share"
        for number, some in enumerate(shares(names, processes), start=1):
            report = self.folder / f"{kind}-{number}.json"
            report.unlink(missing_ok=True)
            running.append((self._start(some, f"{kind}-{number}", seconds), report, some))
        outcome = Outcome()
        try:
            for process, report, some in running:
                with contextlib.suppress(subprocess.TimeoutExpired):  # its tests are then those not heard of
                    process.wait(timeout=max(1.0, began + seconds + GRACE - time.monotonic()))
                outcome.add(read_report(report, some))
        finally:
            for process, _, _ in running:
                process.kill()
                process.wait()
        outcome.seconds = time.monotonic() - began
        return outcome

    def _start(self, names: Sequence[str], name: str, seconds: float) -> subprocess.Popen[bytes]:
        arguments = [
            str(self.program),
            "--provider=skeleton",
            f"--kubeconfig={self.kubeconfig}",
            f"--kubectl-path={self.program.parent / 'kubectl'}",
            f"--ginkgo.focus={pattern(names)}",
            f"--ginkgo.timeout={seconds:.0f}s",
            "--ginkgo.no-color",
            f"--ginkgo.json-report={self.folder / name}.json",
        ]
        with (self.folder / f"{name}.log").open("wb") as log:  # it is endless
            return subprocess.Popen(
                self.lab.network_argv(arguments),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
