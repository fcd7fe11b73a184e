# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which objects a server-side apply would make or change: the API itself is asked, by a dry run."""

from __future__ import annotations

import typing as t

from .pod_network import Api

#: The name under which the collection applies.
MANAGER = "kubestead"
APPLY = "application/apply-patch+yaml"

Object = t.Mapping[str, t.Any]


def name(one: Object) -> str:
    """Return how an object is spoken of: KIND/NAME."""
    return f"{one['kind']}/{one['metadata']['name']}"


class Applying:
    """The objects of one cluster."""

    def __init__(self, api: Api) -> None:
        """Ask through this client."""
        self.api = api
        self._kinds: dict[str, dict[str, t.Any]] = {}

    def path(self, one: Object) -> str:
        """Return where the API has an object; nothing where it does not know its kind."""
        version = str(one["apiVersion"])
        base = f"/apis/{version}" if "/" in version else f"/api/{version}"
        if base not in self._kinds:
            listed = (self.api.request(base).json() or {}).get("resources") or []
            self._kinds[base] = {kind["kind"]: kind for kind in listed if "/" not in kind["name"]}
        kind = self._kinds[base].get(one["kind"])
        if kind is None:
            return ""
        about = one["metadata"]
        space = f"/namespaces/{about.get('namespace') or 'default'}" if kind["namespaced"] else ""
        return f"{base}{space}/{kind['name']}/{about['name']}"

    def is_applied(self, one: Object) -> bool:
        """Whether an apply would leave an object as it is. Where the API cannot tell, it would not."""
        path = self.path(one)
        if not path:
            return False
        there = self.api.request(path)
        would = self.api.request(f"{path}?fieldManager={MANAGER}&dryRun=All", "PATCH", one, APPLY)
        if not (there.ok and would.ok):
            return False
        before, after = there.json() or {}, would.json() or {}
        managers = before["metadata"].pop("managedFields", None) or []
        after["metadata"].pop("managedFields", None)
        return before == after and any(entry.get("manager") == MANAGER for entry in managers)

    def would_change(self, objects: t.Iterable[Object]) -> list[str]:
        """Return the names of the objects that an apply would make or change."""
        return [name(one) for one in objects if not self.is_applied(one)]
