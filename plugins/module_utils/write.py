# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Putting a text into place, for modules: atomic, with the mode that is asked for."""

from __future__ import annotations

import os
import tempfile
from typing import Any

from .host import FileChange


def write_text(module: Any, change: FileChange, mode: int = 0o644) -> None:
    """Write the file anew, or remove it where its text is ``None``; ``module`` is the AnsibleModule."""
    if change.after is None:
        os.unlink(change.path)
        return
    os.makedirs(os.path.dirname(change.path), mode=0o755, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=module.tmpdir)
    with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(change.after)
    os.chmod(name, mode)
    module.atomic_move(name, change.path)
    os.chmod(change.path, mode)
