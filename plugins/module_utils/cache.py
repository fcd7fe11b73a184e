# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The folder on the controller for what can be made again."""

from __future__ import annotations

import os
from pathlib import Path


def default_cache() -> Path:
    """KUBESTEAD_CACHE, or its usual place."""
    return Path(os.environ.get("KUBESTEAD_CACHE") or Path.home() / ".cache" / "kubestead")
