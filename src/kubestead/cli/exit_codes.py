# SPDX-License-Identifier: GPL-3.0-or-later
"""How the command ends; docs/state-api.md has the same table."""

from enum import IntEnum


class ExitCode(IntEnum):
    """0 and 2 are what every program means by them; 3 is as in deploy.sh: something is missing around us.

    Typer adds 130 for Ctrl-C, and 1 where nobody reads the output any more.
    """

    DONE = 0
    REFUSED = 1
    WRONG_INPUT = 2
    LACKING = 3
