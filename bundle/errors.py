# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
"""What can go wrong, with the exit code that the whole project uses for it."""

from __future__ import annotations

DONE = 0
FAILED = 1
WRONG_INPUT = 2
LACKS_SOMETHING = 3
NO_SOURCE = 4
LOCKED = 5
INTERRUPTED = 130


class BundleError(Exception):
    """A failure that is told in one message: what, where, what was expected, what to do next."""

    code = FAILED

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class BuildFailedError(BundleError):
    """A step of the build itself failed."""


class WrongInputError(BundleError):
    """What was asked for cannot be: an unknown minor, a broken catalogue."""

    code = WRONG_INPUT


class LacksError(BundleError):
    """This computer lacks something: a program, space, a setting that switches checks off."""

    code = LACKS_SOMETHING


class UnreachableError(BundleError):
    """No Go module proxy can be reached."""

    code = NO_SOURCE


class LockedError(BundleError):
    """Another build writes the same folder."""

    code = LOCKED
