# SPDX-License-Identifier: GPL-3.0-or-later
"""The state store: what happened to the machines. Only the State API writes to it."""

from .errors import StoreError, StoreUnavailableError
from .records import Datum, MachineState, StateReport
from .store import Store

__all__ = ["Datum", "MachineState", "StateReport", "Store", "StoreError", "StoreUnavailableError"]
