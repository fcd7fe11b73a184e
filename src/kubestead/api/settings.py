# SPDX-License-Identifier: GPL-3.0-or-later
"""What the State API is told at start."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DEFAULT_PORT = 8080
DEFAULT_DATABASE = Path("/srv/state/machines.db")
DEFAULT_REGISTRY = Path("/srv/http/machines/registry.json")
VALUE_LIMIT = 256 * 1024
BODY_LIMIT = 2 * VALUE_LIMIT  # room for the largest value written with escapes and white space


@dataclass(frozen=True)
class Settings:
    """Where the State API finds its things."""

    token_file: Path
    database: Path = DEFAULT_DATABASE
    registry: Path = DEFAULT_REGISTRY
    registry_poll_seconds: float = 2.0
    body_limit: int = BODY_LIMIT

    @property
    def last_good_registry(self) -> Path:
        """A copy of the last valid registry: a restart in the middle of an edit must not lose it."""
        return self.database.with_name("registry.last-good.json")
