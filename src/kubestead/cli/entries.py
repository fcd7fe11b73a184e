# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes of a registry: one entry from the words of a command, and many entries merged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from kubestead.exit_codes import ExitCode
from kubestead.model.entry_change import entry_of
from kubestead.model.mac import normalise_mac
from kubestead.model.machine import Machine
from kubestead.model.registry import Registry
from kubestead.model.registry_checks import SCHEMA_KEY

from .errors import CliError
from .names import unknown
from .output import as_json


def pairs(words: Sequence[str], option: str) -> dict[str, str]:
    """`KEY=VALUE` words as a mapping; an option given twice for one key is a mistake."""
    found: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise CliError(f"{option} is {word!r}, expected KEY=VALUE", code=ExitCode.WRONG_INPUT)
        if key in found:
            raise CliError(f"{option} names {key} twice", code=ExitCode.WRONG_INPUT)
        found[key] = value
    return found


def with_entry(registry: Registry, mac: str, entry: Mapping[str, Any], replace: bool) -> Registry:
    """The registry with a machine added; one that is there already stays, unless it is to be replaced."""
    with suppress(ValueError):  # what is no MAC at all, the registry's own check refuses in its words
        mac = normalise_mac(mac)
    changed = registry.with_machine(mac, entry)
    before = registry.find(mac)
    if before is None or replace:
        return changed
    if changed.machines[before.mac] == before:
        return registry
    raise CliError(
        f"{before.mac} is in the registry already, as {before.hostname}",
        "Add --replace to put this in its place.",
        difference=_difference(entry_of(registry, before.mac), dict(entry)),
    )


def _difference(there: Any, here: Any) -> str:
    return f"there: {as_json(there, None)}\nhere:  {as_json(here, None)}"


def named(registry: Registry, name: str) -> Machine:
    """The machine of a registry that a person means."""
    machine = registry.find(name.strip())
    if machine is None:
        raise unknown(name, [*(item.hostname for item in registry), *registry.machines])
    return machine


def locked(registry: Registry, names: Sequence[str], lock: bool) -> Registry:
    """The registry with machines locked, or not."""
    for name in names:
        machine = named(registry, name)
        if machine.locked is lock:
            continue
        entry = entry_of(registry, machine.mac) or {}
        if lock:
            entry["locked"] = True
        else:
            del entry["locked"]
        registry = registry.with_machine(machine.mac, entry)
    return registry


@dataclass(frozen=True)
class Merged:
    """A registry into which another was merged, and what that did to it: MACs, in the order of the files."""

    registry: Registry
    added: tuple[str, ...]
    changed: tuple[str, ...]
    unchanged: tuple[str, ...]
    removed: tuple[str, ...]


def merge(registry: Registry, other: Registry, replace: bool) -> Merged:
    """`registry` with the machines of `other`, each as a whole; with `replace` without any that it lacks."""
    before, new = _by_mac(registry), _by_mac(other)
    content = registry.content()
    removed = [mac for mac in before if mac not in new] if replace else []
    for mac in removed:
        del content[before[mac][0]]
    for mac, (written, entry) in new.items():
        content[before[mac][0] if mac in before else written] = entry
    merged = Registry(content, registry.source)
    both = [mac for mac in new if mac in before]
    return Merged(
        merged,
        added=tuple(mac for mac in new if mac not in before),
        changed=tuple(mac for mac in both if merged.machines[mac] != registry.machines[mac]),
        unchanged=tuple(mac for mac in both if merged.machines[mac] == registry.machines[mac]),
        removed=tuple(removed),
    )


def _by_mac(registry: Registry) -> dict[str, tuple[str, Any]]:
    """Each machine's key as it is written, and its entry."""
    return {
        normalise_mac(written): (written, entry)
        for written, entry in registry.content().items()
        if written != SCHEMA_KEY
    }
