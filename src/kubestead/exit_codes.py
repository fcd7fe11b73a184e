# SPDX-License-Identifier: GPL-3.0-or-later
"""How every command of the project ends; docs/exit-codes.md and docs/state-api.md say what to do then."""

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes, each with one meaning everywhere."""

    DONE = 0
    FAILED = 1
    WRONG_INPUT = 2
    LACKING = 3
    NO_SOFTWARE = 4
    BUSY = 5
    INTERRUPTED = 130
