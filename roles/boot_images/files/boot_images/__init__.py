# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds what machines boot over the network: the installing system, the rescue system, disk images."""
