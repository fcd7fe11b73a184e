# SPDX-License-Identifier: GPL-3.0-or-later
"""What `kubestead status --server` looks at: one thing each, with a tick or a cross."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

from rich.text import Text

from .output import one_line


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool
    found: str

    def line(self) -> Text:
        """It, for a person."""
        mark = Text("✔ ", "green") if self.ok else Text("✘ ", "bold red")
        return Text.assemble(mark, Text(f"{self.name:<12} ", "bold"), one_line(self.found))


def unit_check(name: str, unit: str) -> Check | None:
    """How a unit of systemd is; None where there is none of that name, or no systemd."""
    command = ["systemctl", "show", unit, "--property=ActiveState,SubState,NRestarts,LoadState"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    values = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
    if values.get("LoadState") != "loaded":
        return None  # started in another way, by hand or in a container
    state = f"{unit} {values.get('ActiveState')} ({values.get('SubState')})"
    restarts = values.get("NRestarts", "0")
    again = "" if restarts in ("0", "") else f", started again {restarts} times"
    return Check(name, values.get("ActiveState") == "active", state + again)
