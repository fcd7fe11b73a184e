# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What systemd says of many units at once."""

from __future__ import annotations

import typing as t

from .programs import Runner

_PROPERTIES = ("LoadState", "ActiveState", "UnitFileState", "StateChangeTimestamp")


class Unit(t.NamedTuple):
    """A unit as it is now."""

    known: bool
    """Whether there is such a unit; one that only another unit names is none."""
    running: bool
    enabled: str
    """Whether it starts at boot, in the words of systemctl(1) `is-enabled`; empty where nothing says it."""
    since: int
    """When it was started, stopped or reloaded last, in seconds since 1970; 0 where it never was."""


def show(run: Runner, names: t.Sequence[str]) -> dict[str, Unit]:
    """Return how these units are, by name; where no systemd answers none is known."""
    if not names:
        return {}
    properties = ",".join(_PROPERTIES)
    _code, out, _err = run(
        ["systemctl", "show", "--timestamp=unix", f"--property={properties}", "--", *names]
    )
    blocks = [_read(block) for block in out.split("\n\n")] if out.strip() else []
    blocks += [{}] * (len(names) - len(blocks))
    return {name: _unit(said) for name, said in zip(names, blocks)}


def _read(block: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in block.splitlines() if "=" in line)


def _unit(said: t.Mapping[str, str]) -> Unit:
    since = said.get("StateChangeTimestamp", "").lstrip("@")
    return Unit(
        known=said.get("LoadState", "not-found") != "not-found",
        running=said.get("ActiveState") in ("active", "reloading", "activating"),
        enabled=said.get("UnitFileState", ""),
        since=int(since) if since.isdigit() else 0,
    )
