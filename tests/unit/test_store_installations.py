# SPDX-License-Identifier: GPL-3.0-or-later
"""Installations in SQLite."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubestead.store.database import sqlite_url
from tests.unit.installations_suite import InstallationsSuite


@pytest.fixture
def url(tmp_path: Path) -> str:
    return sqlite_url(tmp_path / "machines.db")


class TestSqlite(InstallationsSuite):
    """Everything that a store does about installations."""
