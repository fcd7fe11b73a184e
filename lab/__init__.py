# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab: systemd machines on one computer, to try things out and to test with."""

from lab.errors import LabError
from lab.lab import Lab
from lab.machine_spec import MachineSpec
from lab.spec import NodeSpec

__all__ = ["Lab", "LabError", "MachineSpec", "NodeSpec"]
