# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
"""What can go wrong, with the exit code that each kind ends in."""

from __future__ import annotations

from kubestead.errors import ProblemsError
from kubestead.exit_codes import ExitCode


class BundleError(ProblemsError):
    """A failure that is told in one message: what, where, what was expected, what to do next."""


class BuildFailedError(BundleError):
    """A step of the build itself failed."""


class WrongInputError(BundleError):
    """What was asked for cannot be: an unknown minor, a broken catalogue."""

    exit_code = ExitCode.WRONG_INPUT


class LacksError(BundleError):
    """This computer lacks something: a program, space, a setting that switches checks off."""

    exit_code = ExitCode.LACKING


class UnreachableError(BundleError):
    """What the software would come from (a module proxy, a repository, a registry) cannot be reached."""

    exit_code = ExitCode.NO_SOFTWARE


class LockedError(BundleError):
    """Another build writes the same folder."""

    exit_code = ExitCode.BUSY
