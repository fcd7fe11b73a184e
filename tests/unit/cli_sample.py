# SPDX-License-Identifier: GPL-3.0-or-later
"""The command `kubestead` run in the test's own process, which is quick, or in one of its own."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kubestead.cli import main

COMMAND = [sys.executable, "-c", "from kubestead.cli import main; main()"]


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, as the JSON that it is."""
        return json.loads(self.out)

    @property
    def problem(self) -> Any:
        """What it printed on standard error, as the JSON that it is."""
        return json.loads(self.err)


def kubestead(*words: object) -> Ended:
    """Run the command here; standard output is no terminal then."""
    out, err = io.StringIO(), io.StringIO()
    code: Any = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(word) for word in words])
        except SystemExit as end:
            code = end.code or 0
    return Ended(int(code), out.getvalue(), err.getvalue())


def started(*words: object, environment: Mapping[str, str] | None = None) -> Ended:
    """Run the command in a process of its own."""
    done = subprocess.run(
        [*COMMAND, *map(str, words)],
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    return Ended(done.returncode, done.stdout, done.stderr)
