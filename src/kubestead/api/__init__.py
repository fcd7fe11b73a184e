# SPDX-License-Identifier: GPL-3.0-or-later
"""The State API: what machines and runs report to, and what shows how they are."""
