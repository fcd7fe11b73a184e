# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that a test cannot do without: without one it is skipped by name, in CI it fails."""

from __future__ import annotations

import os
import shutil

import pytest


def require(program: str, package: str) -> str:
    """The path of `program`; without it the test is skipped, or in CI fails, and says what to install."""
    found = shutil.which(program)
    if found is None:
        reason = f"{program} is not installed (apt-get install {package})"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found
