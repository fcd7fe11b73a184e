# SPDX-License-Identifier: GPL-3.0-or-later
"""The command `kubestead`."""

from .app import main

__all__ = ["main"]
