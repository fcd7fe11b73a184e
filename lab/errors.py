# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong, with the exit code that each kind ends in."""

from __future__ import annotations

from kubestead.errors import ProblemsError
from kubestead.exit_codes import ExitCode


class LabError(ProblemsError):
    """The lab could not do what was asked for."""


class InputError(LabError):
    """What was typed, or a file that a person wrote, is wrong."""

    exit_code = ExitCode.WRONG_INPUT


class HostError(LabError):
    """This computer lacks something."""

    exit_code = ExitCode.LACKING


class LockedError(LabError):
    """Another run holds the lab."""

    exit_code = ExitCode.BUSY
