# SPDX-License-Identifier: GPL-3.0-or-later
"""The state store: what happened to the machines. Only the State API writes to it."""

from .errors import (
    ClaimTakenError,
    ConflictError,
    IllegalTransitionError,
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
    "IllegalTransitionError",
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
