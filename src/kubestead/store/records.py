# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes into the store and comes out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

SCOPES = ("operator", "read", "machine")  # that a person can have a token of
INSTALL = "install"  # of an installer: for one attempt, and only to report it and to be exchanged


@dataclass(frozen=True, slots=True)
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
    actor: str | None = None
    address: str | None = None
    initial: str = "discovered"  # what a machine counts as that nobody has approved here
    registry_locked: bool = False  # the registry forbids an installation
    install_id: str | None = None  # from which the token comes that a machine reports with


@dataclass(frozen=True, slots=True)
class MachineRecord:
    """A machine as its last report left it, with the status of its features. One that has only stored
    data, or been locked, has no state. `version` grows when the state or the lock changes."""

    mac: str
    state: str | None
    phase: str | None
    progress: int | None
    message: str | None
    error: str | None
    features: Mapping[str, str]
    updated_at: datetime
    since: datetime | None = None  # when it came to its state
    deadline_at: datetime | None = None
    locked: bool = False
    version: int = 0
    address: str | None = None
    install_attempts: int = 0
    desired_install_id: str | None = None
    completed_install_id: str | None = None
    overwrite: bool = False  # the installer may write a disk that is not empty
    handed_out_at: datetime | None = None  # when the last attempt was
    rescue_from: str | None = None  # the state before a rescue
    rescued_at: datetime | None = None  # when the rescue system was handed out

    @property
    def is_to_be_installed(self) -> bool:
        """Whether an installation was asked for that is not complete."""
        return self.desired_install_id is not None and self.desired_install_id != self.completed_install_id


@dataclass(frozen=True, slots=True)
class InstallReport:
    """What an installer says of the attempt that its token is for."""

    state: str  # installing | installed | failed
    phase: str | None = None
    progress: int | None = None
    message: str | None = None
    correlation_id: str | None = None
    address: str | None = None


@dataclass(frozen=True, slots=True)
class Handout:
    """What a machine was given to boot, and why."""

    action: str  # as in boot_decision
    reason: str
    install_id: str | None = None
    attempt: int = 0
    overwrite: bool = False


MachineState = MachineRecord


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. Ids grow in the order in which events became visible."""

    id: int
    at: datetime
    kind: str  # report | transition | lock | unlock | token | claim | registry | enrolment | deadline
    mac: str | None = None
    state: str | None = None
    previous_state: str | None = None
    phase: str | None = None
    progress: int | None = None
    message: str | None = None
    error: str | None = None
    features: Mapping[str, str] = field(default_factory=dict)
    actor: str | None = None
    correlation_id: str | None = None


@dataclass(frozen=True, slots=True)
class NewDatum:
    """A JSON value to keep for a machine, in the place of the one under that key."""

    mac: str
    key: str
    value: Any


@dataclass(frozen=True, slots=True)
class Datum:
    """One value that a machine or a run has stored for a machine; `value` is None in a list of keys."""

    mac: str
    key: str
    value: Any
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """A token as it is known after it was made: without its secret."""

    id: int
    name: str
    scope: str  # one of SCOPES, or INSTALL
    mac: str | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    install_id: str | None = None
    attempt: int | None = None

    @property
    def condition(self) -> str:
        """Whether it opens anything now: `valid`, `expired` or `revoked`."""
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at is not None and self.expires_at <= datetime.now(timezone.utc):
            return "expired"
        return "valid"


@dataclass(frozen=True, slots=True)
class Claim:
    """Who may do a thing that must happen once. The epoch grows when an operator gives it to another."""

    name: str
    holder: str
    epoch: int
    state: str  # claimed | initialized
    data: Any
    claimed_at: datetime
    initialized_at: datetime | None
    new: bool = field(default=False, compare=False)  # this call has taken it
