# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong with the state store, in words for the person who runs it."""

from __future__ import annotations

from .records import Claim, MachineRecord


class StoreError(Exception):
    """The store cannot be used until a person does something; the message says what."""


class StoreUnavailableError(StoreError):
    """The store could not do this now (locked, disk full); nothing was written, trying again may help."""


class RefusedError(Exception):
    """The store is well, and what was asked for may not be; nothing was written."""


class IllegalTransitionError(RefusedError):
    """The lifecycle does not allow this from where the machine is (`current`; None: never seen)."""

    def __init__(self, message: str, current: MachineRecord | None) -> None:
        """Keep the machine as it is."""
        super().__init__(message)
        self.current = current


class ConflictError(RefusedError):
    """Somebody else has changed the machine since the caller looked; `current` is what it is now."""

    def __init__(self, message: str, current: MachineRecord | None) -> None:
        """Keep the machine as it is."""
        super().__init__(message)
        self.current = current


class InstallTokenError(RefusedError):
    """The secret is not (any more) that of an installer at work."""


class ClaimTakenError(RefusedError):
    """The claim is another's, or no longer what the caller holds; `claim` is what it is now."""

    def __init__(self, message: str, claim: Claim) -> None:
        """Keep the claim as it is."""
        super().__init__(message)
        self.claim = claim


class UnknownClaimError(RefusedError):
    """Nobody has taken a claim of this name."""


class UnknownTokenError(RefusedError):
    """There is no token with this id."""
