# SPDX-License-Identifier: GPL-3.0-or-later
"""What the shell offers after Tab: the words of the registry, and names of machines that are at hand."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import typer

from kubestead.model.machine import ARCHITECTURES, FEATURES, OPERATING_SYSTEMS, ROLES
from kubestead.model.registry import Registry, RegistryError
from kubestead.model.state_api_client import StateApiError

from .session import Session

_PATIENCE = 0.7
"""Seconds that a person at a prompt waits for names."""


def machine_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """The host names of the registry file that the line names, or of the API if it answers at once."""
    # What stands on the line already is no use again, and MACs are offered to whoever began one.
    return sorted(_starting(_names(ctx, wants_mac=_begins_mac(incomplete)), incomplete))


def _names(ctx: typer.Context, wants_mac: bool) -> Iterator[str]:
    given = ctx.params
    file = given.get("registry_file")
    if file:
        try:
            machines = Registry.load(Path(file)).machines
        except RegistryError:
            return
        for machine in machines.values():
            yield machine.hostname
        if wants_mac:
            yield from machines
        return
    session = Session(
        given.get("api_url") or os.environ.get("KUBESTEAD_API_URL", ""),
        given.get("token_file") or os.environ.get("KUBESTEAD_API_TOKEN_FILE", ""),
        given.get("ca_file") or os.environ.get("KUBESTEAD_API_CA_FILE", ""),
    )
    try:
        client = session.client(_PATIENCE)
        states = client.states()
        client.close()
    except StateApiError:
        return  # a prompt is no place for a problem; the command itself will tell
    for mac, state in states.items():
        if state["hostname"]:
            yield state["hostname"]
        if wants_mac or not state["hostname"]:
            yield mac


def _begins_mac(text: str) -> bool:
    return len(text) >= 2 and all(character in "0123456789abcdefABCDEF:-." for character in text)


def _starting(words: Iterable[str], incomplete: str) -> list[str]:
    return [word for word in words if word.startswith(incomplete)]


def roles(incomplete: str) -> list[str]:
    """The roles."""
    return _starting(ROLES, incomplete)


def architectures(incomplete: str) -> list[str]:
    """The architectures."""
    return _starting(ARCHITECTURES, incomplete)


def features(ctx: typer.Context, incomplete: str) -> list[str]:
    """The features that are not on the line yet."""
    there = ctx.params.get("features") or ()
    return _starting((feature for feature in FEATURES if feature not in there), incomplete)


def operating_systems(incomplete: str) -> list[str]:
    """The operating systems."""
    return _starting(OPERATING_SYSTEMS, incomplete)
