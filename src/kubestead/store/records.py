# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes into the store and comes out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class StateReport:
    """One report about a machine; `mac` in normal form. What is not given is not known any more,
    but features keep their status until a report names them again."""

    mac: str
    state: str
    phase: str | None = None
    progress: int | None = None
    message: str | None = None
    error: str | None = None
    features: Mapping[str, str] = field(default_factory=dict)
    correlation_id: str | None = None


@dataclass(frozen=True)
class MachineState:
    """The last report about a machine, with the status of its features."""

    mac: str
    state: str | None
    phase: str | None
    progress: int | None
    message: str | None
    error: str | None
    features: Mapping[str, str]
    updated_at: datetime


@dataclass(frozen=True)
class Datum:
    """One value that a machine or a run has stored for a machine."""

    mac: str
    key: str
    value: Any
    updated_at: datetime
