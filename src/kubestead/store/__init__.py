# SPDX-License-Identifier: GPL-3.0-or-later
"""The state store: what happened to the machines. Only the State API writes to it."""

from .errors import (
    ClaimTakenError,
    ConflictError,
    IllegalTransitionError,
    InstallTokenError,
    RefusedError,
    StoreError,
    StoreUnavailableError,
    UnknownClaimError,
    UnknownTokenError,
)
from .group_commit import AsyncStore
from .records import (
    SCOPES,
    Claim,
    Datum,
    Event,
    Handout,
    InstallReport,
    MachineRecord,
    MachineState,
    StateReport,
    TokenRecord,
)
from .store import Store

__all__ = [
    "SCOPES",
    "AsyncStore",
    "Claim",
    "ClaimTakenError",
    "ConflictError",
    "Datum",
    "Event",
    "Handout",
    "IllegalTransitionError",
    "InstallReport",
    "InstallTokenError",
    "MachineRecord",
    "MachineState",
    "RefusedError",
    "StateReport",
    "Store",
    "StoreError",
    "StoreUnavailableError",
    "TokenRecord",
    "UnknownClaimError",
    "UnknownTokenError",
]
