# SPDX-License-Identifier: GPL-3.0-or-later
"""Code of the collection that only Ansible imports, for tests."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

_COLLECTIONS = str(Path(__file__).resolve().parents[2] / ".ansible" / "collections")


def load(name: str) -> Any:
    """The module `plugins.NAME` of the collection, under the name by which Ansible knows it."""
    if _COLLECTIONS not in sys.path:
        sys.path.insert(0, _COLLECTIONS)
    return importlib.import_module(f"ansible_collections.kubestead.homelab.plugins.{name}")
