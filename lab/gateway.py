# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's gateway."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from lab import paths
from lab.errors import LabError
from lab.host import Port
from lab.process import Process, wait_until


class Gateway:
    """The background process of a lab, as seen from those who start and stop it."""

    def __init__(
        self, lab: str, folder: Path, *, api_port: int | None = None, kube_port: int | None = None
    ) -> None:
        self.lab = lab
        self.folder = folder
        self.api_port = api_port
        self.kube_port = kube_port
        self._state = folder / "gateway.json"

    def ports(self) -> tuple[Port, ...]:
        """Return the ports of this computer's loopback that it takes."""
        found = []
        if self.api_port:
            found.append(Port(self.api_port, "State API", "--api-port"))
        if self.kube_port:
            found.append(Port(self.kube_port, "Kubernetes API", "--kube-port"))
        return tuple(found)

    def process(self) -> Process | None:
        """Return the process if it runs."""
        process = Process.load(self._state)
        return process if process and process.alive() else None

    def start(self) -> None:
        """Start it unless it runs."""

    def stop(self) -> None:
        """Stop it."""
        if process := self.process():
            process.end()
        self._state.unlink(missing_ok=True)
