# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The registry of machines: the one place where it is written what each machine should be."""

from __future__ import annotations

import copy
import json
import os
import typing as t
from types import MappingProxyType

from .atomic import write_atomically
from .mac import normalise_mac
from .machine import Machine
from .problems import Problem, RegistryError
from .registry_checks import Checked, check
from .registry_file import Document, parse, read_text, refuse_unfit, render
from .registry_lock import RegistryLockedError, RegistryUnwritableError, locked, unwritable
from .registry_values import plain

__all__ = [
    "Machine",
    "Problem",
    "Registry",
    "RegistryError",
    "RegistryLockedError",
    "RegistryUnwritableError",
]

_EDITED_MEANWHILE = 5


class Registry:
    """A registry without problems. It never changes: `with_machine` and `without_machine` return another."""

    def __init__(self, content: t.Mapping[str, t.Any], source: str = "registry.json") -> None:
        """Check `content`, the mapping of a registry file; raise RegistryError with all its problems."""
        own: t.Dict[str, t.Any] = plain(content)
        document = Document(list(own.items()))
        refuse_unfit(document, source)
        self._set(own, check(document, source), source)

    def _set(self, content: t.Dict[str, t.Any], checked: Checked, source: str) -> None:
        self._content = content
        self._written = checked.written
        self.source = source
        self.machines: t.Mapping[str, Machine] = MappingProxyType(checked.machines)
        self.warnings = checked.warnings

    @classmethod
    def load(cls, path: t.Union[str, os.PathLike[str]], source: str = "") -> Registry:
        """Read a registry from a JSON or YAML file; raise RegistryError with all its problems.

        `source` is what messages call the file, where it is not its path.
        """
        name = os.fspath(path)
        return cls.parse(read_text(name, source), source or name)

    @classmethod
    def parse(cls, text: str, source: str = "registry.json") -> Registry:
        """Read a registry from text; `source` names it in messages and tells YAML (.yml, .yaml) from JSON."""
        document = parse(text, source)
        checked = check(document, source)
        registry = cls.__new__(cls)
        registry._set(dict(document.pairs), checked, source)
        return registry

    def save(self, path: t.Union[str, os.PathLike[str]]) -> None:
        """Write the registry in one step: order and unknown keys are kept, and the mode of the file."""
        name = os.fspath(path)
        # A symbolic link stays one.
        write_atomically(os.path.realpath(name), render(self._content, name))

    @classmethod
    def update(
        cls,
        path: t.Union[str, os.PathLike[str]],
        change: t.Callable[[Registry], Registry],
        *,
        create: bool = False,
        timeout: float = 10,
    ) -> Registry:
        """Load, change and save a registry file with no other writer in between; return what it says then.

        change: gets the registry of the file and returns another; what it raises goes on, and the file stays.
        It is called again where an editor, which knows no lock, has saved the file in the meantime. A file
        that would say the same is left as it is.
        create: begin with an empty registry where there is no file.
        Raises RegistryError; RegistryLockedError after `timeout` seconds; RegistryUnwritableError.
        """
        name = os.fspath(path)
        with locked(name, timeout):
            for _attempt in range(_EDITED_MEANWHILE):
                before = None if create and not os.path.lexists(name) else read_text(name)
                registry = cls({}, name) if before is None else cls.parse(before, name)
                changed = change(registry)
                if before is not None and json.dumps(changed._content) == json.dumps(registry._content):
                    return registry
                if before != (None if create and not os.path.lexists(name) else read_text(name)):
                    continue
                try:
                    changed.save(name)
                except OSError as error:
                    raise unwritable(name, error) from None
                return changed
        found = f"was saved by another program {_EDITED_MEANWHILE} times while it was being changed"
        raise RegistryLockedError(
            [Problem(name, None, None, None, "it to be left alone for a moment", found)]
        )

    def content(self) -> t.Dict[str, t.Any]:
        """The mapping as the file has it: a copy."""
        return copy.deepcopy(self._content)

    def entry(self, mac: str) -> t.Optional[t.Dict[str, t.Any]]:
        """What the file has under a MAC, in any notation: a copy, or None."""
        key = self._key(mac)
        return None if key is None else copy.deepcopy(self._content[key])

    def find(self, name: str) -> t.Optional[Machine]:
        """The machine with this MAC (in any notation) or host name, or None."""
        try:
            return self.machines.get(normalise_mac(name))
        except ValueError:
            wanted = name.lower()
            return next((machine for machine in self.machines.values() if machine.hostname == wanted), None)

    def with_machine(self, mac: str, values: t.Mapping[str, t.Any]) -> Registry:
        """This registry with one machine added at its end, or replaced where it stands."""
        content = dict(self._content)
        content[self._key(mac) or mac] = dict(values)
        return Registry(content, self.source)

    def without_machine(self, mac: str) -> Registry:
        """This registry without one machine; KeyError when it is not there."""
        key = self._key(mac)
        if key is None:
            raise KeyError(mac)
        return Registry({name: value for name, value in self._content.items() if name != key}, self.source)

    def _key(self, mac: str) -> t.Optional[str]:
        try:
            return self._written.get(normalise_mac(mac))
        except ValueError:
            return None

    def __len__(self) -> int:
        return len(self.machines)

    def __iter__(self) -> t.Iterator[Machine]:
        return iter(self.machines.values())
