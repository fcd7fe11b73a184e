# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
"""Where things are: the checkout, the cache, the bundle's own files."""

from __future__ import annotations

import os
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent
ARTIFACTS = CHECKOUT / "roles" / "artifacts" / "defaults" / "main.yml"
CATALOGUE = CHECKOUT / "roles" / "artifacts" / "files" / "catalogue.yml"
MODULES = HERE / "modules"
COMMON = MODULES / "common"
PROGRAMS = HERE / "programs"

MANIFEST = "manifest.json"
CHECKSUMS = "SHA256SUMS"
STATUS = ".status.json"
LOCK = ".lock"
BUILDING = ".building"


def cache_dir() -> Path:
    """The folder for what can be had again: ``KUBESTEAD_CACHE``, else ``~/.cache/kubestead``."""
    return Path(os.environ.get("KUBESTEAD_CACHE") or Path.home() / ".cache" / "kubestead")


def bundle_dir() -> Path:
    """The folder of the bundle: ``KUBESTEAD_BUNDLE``, else ``bundle`` in the cache."""
    return Path(os.environ.get("KUBESTEAD_BUNDLE") or cache_dir() / "bundle")
