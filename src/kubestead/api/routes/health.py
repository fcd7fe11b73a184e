# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the API can do its work."""

from __future__ import annotations

from fastapi import Request

from kubestead.api.access import PUBLIC, Section
from kubestead.api.bodies import Health
from kubestead.api.version import VERSION

from .common import Json, registry_of, store_of

section = Section("Health")


@section.route("GET", "/healthz", allow={PUBLIC}, gives=Health, refuses=[503])
def healthz(request: Request) -> Json:
    """Tell whether the API can do its work.

    `registry` is `ok`, `missing` or `invalid`; with the latter two the last valid one stays in force.
    """
    return Json(health(request))


def health(request: Request) -> dict[str, object]:
    """What `/healthz` says; StoreUnavailableError if the store does not answer."""
    store_of(request).check()
    registry = registry_of(request)
    registry.refresh()
    content = registry.content
    return {
        "status": "ok",
        "version": VERSION,
        "registry": content.condition,
        "registry_problems": len(content.problems),
        "machines": len(content.machines),
        "store": store_of(request).kind,
    }
