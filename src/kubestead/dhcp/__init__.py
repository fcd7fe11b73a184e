# SPDX-License-Identifier: GPL-3.0-or-later
"""The DHCP server of a PXE host: the live registry's machines in it, and what it has handed out."""
