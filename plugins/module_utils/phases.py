# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The phases of a deployment, in their order."""

from __future__ import annotations

import typing as t

PHASES: t.Tuple[str, ...] = ("state_api", "prepare", "control_plane", "join", "network", "validate")
VALIDATE = "validate"  # the machine is ready when this has passed
PROVISION = "provision"  # stands outside the order too: a machine that was installed is ready after it
# What installers report, in this order; the installed system then says FIRST_BOOT.
INSTALLER_PHASES: t.Tuple[str, ...] = ("boot", "download", "disk", "write", "bootloader", "done")
FIRST_BOOT = "first-boot"
RESET = "reset"  # stands outside the order: it takes a cluster away

#: The feature that the phases bring a machine, by its name in the registry, and how it stands.
KUBERNETES = "kubernetes"
FEATURE_READY, FEATURE_FAILED, FEATURE_REMOVED = "ready", "failed", "removed"


def kubernetes_status(phase: str, passed: bool) -> t.Optional[str]:
    """How feature `kubernetes` stands on a machine after a phase; None where the phase says nothing of it."""
    if phase in (VALIDATE, RESET) and passed:
        return FEATURE_READY if phase == VALIDATE else FEATURE_REMOVED
    return FEATURE_FAILED if phase in PHASES[PHASES.index("prepare") :] and not passed else None


def progress(phase: str, done: bool = False) -> t.Optional[int]:
    """The share of phases behind a machine in `phase`, in percent; None for a phase outside the order."""
    if phase not in PHASES:
        return None
    return (PHASES.index(phase) + int(done)) * 100 // len(PHASES)
