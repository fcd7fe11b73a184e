# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine fetches from `/scripts/` to become one of ours: the agent, its unit, what brings them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources

from kubestead.installers.settings import BootSettings, SettingsError

PREFIX = "/scripts/"
CA = "ca.crt"
_PROVISION = "provision-machine.sh"
_FILES = {
    "kubestead-agent": "kubestead-agent",
    "kubestead-agent.service": "kubestead-first-boot.service",
    "machine-state.sh": "machine-state.sh",
    _PROVISION: _PROVISION,
}


@dataclass(frozen=True)
class Script:
    """What is answered: the text of a file, or why there is none."""

    status: int
    text: str


def answer(path: str, settings: Callable[[], BootSettings]) -> Script | None:
    """What `/scripts/NAME` holds; None where we have nothing of that name."""
    name = path.removeprefix(PREFIX)
    if not path.startswith(PREFIX) or (name not in _FILES and name != CA):
        return None
    if name in _FILES and name != _PROVISION:
        return Script(200, text_of(_FILES[name]))
    try:
        known = settings()
    except SettingsError as error:
        return Script(503, str(error))
    if name == CA:
        if known.api_ca:
            return Script(200, known.api_ca)
        return Script(404, f"the State API at {known.api_url} has no authority of its own to be trusted")
    # Settings hold nothing that a shell would take for more than text between single quotes.
    return Script(200, text_of(name).replace("@BASE@", known.base).replace("@API_URL@", known.api_url))


def text_of(name: str) -> str:
    """A file of this folder."""
    return (resources.files(__package__) / name).read_text(encoding="utf-8")
