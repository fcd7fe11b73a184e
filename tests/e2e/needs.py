# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests with virtual machines need of this computer: brought by apt, else the reason is told."""

from __future__ import annotations

import os
from collections.abc import Iterable

import pytest

from lab import LabError, apt, qemu


def require_machines(*packages: str) -> None:
    """Have what emulates machines, and `packages` beside it; else skip by name, or fail in CI."""
    reason = _lack({*packages, *qemu.missing_packages()})
    if reason and os.environ.get("CI"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


def _lack(packages: Iterable[str]) -> str:
    wanted = sorted(packages)
    try:
        apt.install(wanted)
    except LabError as error:
        return f"{' '.join(wanted)} cannot be installed: {error}"
    return "; ".join(qemu.problems())
