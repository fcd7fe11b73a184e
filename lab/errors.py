# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong, with the exit code that each kind ends in."""

from __future__ import annotations

from collections.abc import Iterable

EXIT_FAILED = 1
EXIT_INPUT = 2
EXIT_HOST = 3
EXIT_LOCKED = 5
EXIT_INTERRUPTED = 130


class LabError(Exception):
    """One or more problems that a person can act on."""

    exit_code = EXIT_FAILED

    def __init__(self, problems: str | Iterable[object]) -> None:
        self.problems = [problems] if isinstance(problems, str) else [str(one) for one in problems]
        super().__init__("\n".join(self.problems))


class InputError(LabError):
    """What was typed, or a file that a person wrote, is wrong."""

    exit_code = EXIT_INPUT


class HostError(LabError):
    """This computer lacks something."""

    exit_code = EXIT_HOST


class LockedError(LabError):
    """Another run holds the lab."""

    exit_code = EXIT_LOCKED
