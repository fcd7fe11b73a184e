# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The lifecycle of a machine: its states and which may follow which.

    discovered -> approved -> install_pending -> installing -> installed -> provisioning -> ready

and `failed`, `retired`, `rescue` beside them. `locked` is a flag across all states
that forbids an installation.
"""

from __future__ import annotations

import typing as t

DISCOVERED = "discovered"
APPROVED = "approved"
INSTALL_PENDING = "install_pending"
INSTALLING = "installing"
INSTALLED = "installed"
PROVISIONING = "provisioning"
READY = "ready"
FAILED = "failed"
RETIRED = "retired"
RESCUE = "rescue"

STATES: t.Tuple[str, ...] = (
    DISCOVERED,
    APPROVED,
    INSTALL_PENDING,
    INSTALLING,
    INSTALLED,
    PROVISIONING,
    READY,
    FAILED,
    RETIRED,
    RESCUE,
)

# A new machine: one that nobody has named yet, or one that stands in the registry.
INITIAL_STATES: t.FrozenSet[str] = frozenset({DISCOVERED, APPROVED})

# The states in which the machine may be given the installer; a locked machine never enters them.
INSTALL_STATES: t.FrozenSet[str] = frozenset({INSTALL_PENDING, INSTALLING})

TRANSITIONS: t.Mapping[str, t.FrozenSet[str]] = {
    # Somebody has to approve an unknown machine before anything else happens to it.
    DISCOVERED: frozenset({APPROVED, RETIRED}),
    # Installed by hand, a machine is adopted (`installed`) or prepared over SSH at once (`provisioning`).
    APPROVED: frozenset({INSTALL_PENDING, INSTALLED, PROVISIONING, FAILED, RETIRED, RESCUE}),
    # Back to `approved` when the wish is withdrawn.
    INSTALL_PENDING: frozenset({APPROVED, INSTALLING, FAILED, RETIRED, RESCUE}),
    # Back to `install_pending` for the next attempt.
    INSTALLING: frozenset({INSTALL_PENDING, INSTALLED, FAILED, RETIRED, RESCUE}),
    INSTALLED: frozenset({INSTALL_PENDING, PROVISIONING, FAILED, RETIRED, RESCUE}),
    # Back to `installed` after a reset of its cluster.
    PROVISIONING: frozenset({INSTALL_PENDING, INSTALLED, READY, FAILED, RETIRED, RESCUE}),
    READY: frozenset({INSTALL_PENDING, PROVISIONING, FAILED, RETIRED, RESCUE}),
    # A deadline may have passed while the machine was still at work: its late success counts.
    # To `installing`: the next attempt at an installation that is still asked for.
    FAILED: frozenset(
        {APPROVED, INSTALL_PENDING, INSTALLING, INSTALLED, PROVISIONING, READY, RETIRED, RESCUE}
    ),
    RETIRED: frozenset({APPROVED}),
    RESCUE: frozenset({APPROVED, INSTALL_PENDING, INSTALLED, PROVISIONING, READY, FAILED, RETIRED}),
}

# How long a machine may stay in a state without a report; each report starts the time anew.
DEADLINES: t.Mapping[str, int] = {
    INSTALL_PENDING: 24 * 3600,
    INSTALLING: 3600,
    PROVISIONING: 1800,
    RESCUE: 24 * 3600,
}

# What an operator may do to a machine, and the state that it leads to (None: the state stays).
ACTIONS: t.Mapping[str, t.Optional[str]] = {
    "approve": APPROVED,
    "install": INSTALL_PENDING,
    "reinstall": INSTALL_PENDING,
    "rescue": RESCUE,
    "retire": RETIRED,
    "lock": None,
    "unlock": None,
}


class TransitionError(ValueError):
    """A state that is unknown, or that may not follow the present one; the text says what may."""


def is_legal(current: t.Optional[str], wanted: str, locked: bool = False) -> bool:
    """Tell whether `wanted` may follow `current` (None: a machine that is not known yet).

    The same state again is a progress report, and legal.
    """
    if wanted not in TRANSITIONS or (current is not None and current not in TRANSITIONS):
        return False
    if current == wanted:
        return True
    if locked and wanted in INSTALL_STATES:
        return False
    if current is None:
        return wanted in INITIAL_STATES
    return wanted in TRANSITIONS[current]


def check_transition(current: t.Optional[str], wanted: str, locked: bool = False) -> None:
    """Raise TransitionError unless `wanted` may follow `current`."""
    if is_legal(current, wanted, locked):
        return
    for state in (current, wanted):
        if state is not None and state not in TRANSITIONS:
            raise TransitionError(f'"{state}" is not a state, expected one of {", ".join(STATES)}')
    if locked and wanted in INSTALL_STATES:
        raise TransitionError(f"the machine is locked and cannot go to {wanted}; unlock it first")
    following = INITIAL_STATES if current is None else TRANSITIONS[current]
    ordered = [state for state in STATES if state in following]
    origin = "a new machine" if current is None else f"a machine that is {current}"
    raise TransitionError(f"{origin} cannot go to {wanted}, only to {', '.join(ordered)}")
