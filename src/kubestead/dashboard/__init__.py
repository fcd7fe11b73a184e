# SPDX-License-Identifier: GPL-3.0-or-later
"""The dashboard: one page that shows every machine live. The State API serves it at `/`."""

from .pages import router

__all__ = ["router"]
