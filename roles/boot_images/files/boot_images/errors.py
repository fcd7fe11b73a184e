# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong while an image is made."""

from __future__ import annotations


class BuildError(Exception):
    """Something that a person has to set right; the text says what."""
