# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run programs without a shell."""

from __future__ import annotations

import os
import shutil
import subprocess
import typing as t


class Runner(t.Protocol):
    """Runs a program and returns its exit code and both outputs; 127 when there is no such program."""

    def __call__(
        self, argv: t.Sequence[str], stdin: str | None = None, timeout: float = 30
    ) -> tuple[int, str, str]: ...


def run_program(argv: t.Sequence[str], stdin: str | None = None, timeout: float = 30) -> tuple[int, str, str]:
    """Run a program without a shell, in the C locale."""
    if shutil.which(argv[0]) is None:
        return 127, "", f"{argv[0]}: not found"
    try:
        done = subprocess.run(
            list(argv),
            check=False,
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )
    except subprocess.TimeoutExpired:
        return 124, "", f"{argv[0]}: no end after {timeout:g} seconds"
    except OSError as error:
        return 126, "", str(error)
    return done.returncode, done.stdout, done.stderr
