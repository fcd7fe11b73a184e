# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the registry is that a command works on: a file, or the live one behind the State API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from kubestead.exit_codes import ExitCode
from kubestead.model.registry import Registry
from kubestead.model.registry_file import render
from kubestead.model.registry_sync import entry_fingerprint
from kubestead.model.state_api_client import StateApiClient, StateApiRefusedError

from .errors import CliError
from .session import Session

_ATTEMPTS = 8
_CHANGED_MEANWHILE = 412

Change = Callable[[Registry], Registry]


class Place(Protocol):
    """A registry that can be read and changed, with no other writer's change lost."""

    def read(self) -> Registry:
        """The registry as it is now."""

    def update(self, change: Change) -> Registry:
        """Replace it by what `change` makes of it. `change` may be called again, when another was quicker."""


class RegistryFile:
    """A registry file on this computer, changed under its lock."""

    def __init__(self, path: Path) -> None:
        """Nothing is read yet."""
        self.path = path

    def read(self) -> Registry:
        """Read the file."""
        if not self.path.exists():
            raise CliError(f"there is no file {self.path}", code=ExitCode.LACKING)
        return Registry.load(self.path)

    def update(self, change: Change) -> Registry:
        """Change the file under its lock; one that is not there yet begins empty."""
        return Registry.update(self.path, change, create=True)


class LiveRegistry:
    """The registry of the State API, changed by compare and swap."""

    def __init__(self, api: StateApiClient) -> None:
        """Nothing is read yet."""
        self._api = api

    def read(self) -> Registry:
        """Ask the API for it."""
        return self._read()[0]

    def update(self, change: Change) -> Registry:
        """Change the live registry: one machine's entry by itself, more of it by compare and swap."""
        for attempt in range(_ATTEMPTS):
            registry, path, sha256 = self._read()
            changed = change(registry)
            before, after = registry.content(), changed.content()
            if list(before.items()) == list(after.items()):
                return registry
            try:
                self._put(before, after, path, sha256)
            except StateApiRefusedError as error:
                if error.status != _CHANGED_MEANWHILE or attempt == _ATTEMPTS - 1:
                    raise
            else:
                return changed
        raise AssertionError("the last attempt returns or raises")

    def _put(
        self, before: Mapping[str, Any], after: Mapping[str, Any], path: str, sha256: str | None
    ) -> None:
        put = [key for key in after if after[key] != before.get(key)]
        gone = [key for key in before if key not in after]
        if len(put) == 1 and not gone:
            self._api.put_machine(put[0], after[put[0]], entry_fingerprint(before.get(put[0])))
        elif len(gone) == 1 and not put:
            self._api.delete_machine(gone[0], entry_fingerprint(before[gone[0]]))
        else:
            self._api.put_registry(render(after, path), expected_sha256=sha256)

    def _read(self) -> tuple[Registry, str, str | None]:
        live = self._api.registry()
        if live["text"] is None and live["condition"] != "missing":
            raise CliError(
                "the token may not read the registry's text",
                "Take a token of scope operator (--token-file, KUBESTEAD_API_TOKEN_FILE).",
            )
        if live["condition"] == "invalid":
            raise CliError(
                f"the live registry {live['path']} is invalid: mend it first",
                "Nothing was changed; the last valid registry is in force.",
                problems=live["problems"],
            )
        return Registry.parse(live["text"] or "{}", live["path"]), live["path"], live["sha256"]


def place(session: Session) -> Place:
    """The registry that a command is about."""
    return RegistryFile(session.registry_file) if session.registry_file else LiveRegistry(session.api)
