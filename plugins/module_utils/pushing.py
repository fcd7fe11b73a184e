# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Putting a controller's registry in the place of the live one, never over an edit it has not seen."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

from .converging import Converging
from .host import read_text
from .registry_lock import locked
from .registry_sync import PUSH, PUSHED_MARK, REFUSE, Decision, decide, fingerprint

PATIENCE = 10.0
"""Seconds to wait for another writer of the registry."""


class PushRefusedError(Exception):
    """The live registry holds what the controller has not seen; `difference` is what a push would undo."""

    def __init__(self, registry: Path, source: str, difference: str) -> None:
        super().__init__(
            f"The live registry {registry} was changed since {source} was last pushed there or pulled from "
            f"there. A push would change it like this:\n{difference}"
            f"To take the live one's changes over: kubestead registry pull {source}. "
            "To overwrite them: -e state_api_registry_force=true (the live one is kept beside the new one)."
        )
        self.difference = difference


def push(
    host: Converging,
    registry: Path,
    text: str,
    data_dir: Path,
    *,
    seen: "list[str]",
    force: bool = False,
    source: str = "the controller's registry",
) -> "dict[str, Any]":
    """Push a registry's text; give what the result tells of it.

    seen: fingerprints of live texts that the controller has agreed with. Without any, the text that was
    pushed last counts as seen, whoever did that.
    Raises PushRefusedError, and RegistryError where the registry is locked or cannot be written.
    """
    mark = data_dir / PUSHED_MARK
    # In check mode there may be no folder yet to hold the lock, and nothing is written.
    with nullcontext() if host.module.check_mode else locked(registry, PATIENCE):
        live = read_text(registry)
        decision = _decide(text, live, seen or [(read_text(mark) or "").strip()], force, registry)
        if decision.action == REFUSE:
            raise PushRefusedError(registry, source, decision.difference)
        told: dict[str, Any] = {"registry_base": decision.base}
        if decision.action == PUSH:
            if live is not None and not host.module.check_mode:
                told["backup"] = host.module.backup_local(str(registry))
            # Its folder is closed, so its mode may be the one that an editor gives the file.
            host.file(registry, text)
        if (read_text(mark) or "").strip() != decision.base:
            host.file(mark, f"{decision.base}\n")
    return told


def _decide(text: str, live: "str | None", seen: "list[str]", force: bool, registry: Path) -> Decision:
    found = fingerprint(live) if live is not None else ""
    base = found if found in seen else seen[0]
    return decide(text, live, base or None, force, names=(f"live {registry}", "pushed"))
