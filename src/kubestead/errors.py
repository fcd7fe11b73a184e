# SPDX-License-Identifier: GPL-3.0-or-later
"""What the errors of the lab and of the bundle have in common."""

from __future__ import annotations

from .exit_codes import ExitCode


class ProblemsError(Exception):
    """One or more problems that a person can act on, each a sentence; and how the command ends with them."""

    exit_code: ExitCode = ExitCode.FAILED

    def __init__(self, *problems: str) -> None:
        self.problems: tuple[str, ...] = problems
        super().__init__("\n".join(problems))
