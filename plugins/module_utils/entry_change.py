# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A change of one machine's entry in a registry, planned before anything is written."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass

from .mac import is_mac, normalise_mac
from .registry import Registry

Entry = t.Dict[str, t.Any]


@dataclass(frozen=True)
class Change:
    """What an entry is and what it becomes (None: not there), with the registry that holds the latter."""

    mac: str
    before: t.Optional[Entry]
    after: t.Optional[Entry]
    registry: Registry
    warnings: t.Tuple[str, ...] = ()
    """What the check remarks on because of it."""

    @property
    def needed(self) -> bool:
        """Whether there is anything to write."""
        return self.before != self.after

    def difference(self, source: str) -> t.Dict[str, str]:
        """The change in the form that Ansible shows."""
        header = f"{source}: {self.mac}"
        return {
            "before_header": header,
            "after_header": header,
            "before": _text(self.before),
            "after": _text(self.after),
        }


def set_entry(registry: Registry, mac: str, values: t.Mapping[str, t.Any], exclusive: bool) -> Change:
    """Give a machine these values; the others of its entry stay, unless `exclusive`.

    Raises RegistryError, with all problems, where the registry would not be valid with it. Values that say
    the same in other words (the host name in capitals, `x86_64`) are no change.
    """
    mac = normalise_mac(mac)
    before = entry_of(registry, mac)
    after = dict(values) if exclusive or before is None else {**before, **values}
    changed = registry.with_machine(mac, after)
    if before is not None and registry.machines[mac] == changed.machines[mac]:
        return Change(mac, before, before, registry)
    known = set(registry.warnings)
    return Change(mac, before, after, changed, tuple(one for one in changed.warnings if one not in known))


def remove_entry(registry: Registry, mac: str) -> Change:
    """Take a machine out of the registry."""
    mac = normalise_mac(mac)
    before = entry_of(registry, mac)
    return Change(mac, before, None, registry if before is None else registry.without_machine(mac))


def entry_of(registry: Registry, mac: str) -> t.Optional[Entry]:
    """A machine's entry as the registry's file has it."""
    return next(
        (
            dict(values)
            for written, values in registry.content().items()
            if is_mac(written) and normalise_mac(written) == mac
        ),
        None,
    )


def _text(entry: t.Optional[Entry]) -> str:
    return "" if entry is None else json.dumps(entry, indent=2, ensure_ascii=False) + "\n"
