# SPDX-License-Identifier: GPL-3.0-or-later
"""Where things are kept."""

from __future__ import annotations

import os
from pathlib import Path

from kubestead.model.cache import default_cache


def cache() -> Path:
    """Where what every lab shares is kept: bases, apt's files, the bundle."""
    return default_cache()


def bundle() -> Path:
    """Where a bundle of Kubernetes software is expected."""
    return Path(os.environ.get("KUBESTEAD_BUNDLE") or cache() / "bundle")


def home() -> Path:
    """The folder of all labs."""
    return Path(os.environ.get("KUBESTEAD_LAB_HOME") or "/var/lib/kubestead")


def checkout() -> Path:
    """The folder that holds the package `lab`."""
    return Path(__file__).resolve().parent.parent
