# SPDX-License-Identifier: GPL-3.0-or-later
"""The version of this program, as its package says it."""

from importlib.metadata import version

VERSION = version("kubestead")
