# SPDX-License-Identifier: GPL-3.0-or-later
"""Which machine a person means: its host name, or its MAC in any notation. Nothing is guessed."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from kubestead.model.mac import normalise_mac
from kubestead.model.problems import one_of

from .errors import CliError
from .output import one_line
from .views import View

_SHOWN = 8


def find(views: Mapping[str, View], name: str) -> str:
    """The MAC of the machine called `name`; CliError, with what was perhaps meant, when there is none."""
    try:
        mac = normalise_mac(name)
    except ValueError:
        wanted = name.strip().lower()
        mac = next((mac for mac, view in views.items() if view["hostname"] == wanted), "")
    if mac in views:
        return mac
    raise unknown(name, [*(str(view["hostname"]) for view in views.values() if view["hostname"]), *views])


def unknown(name: str, known: list[str]) -> CliError:
    """The problem that no machine is called `name`, where these are."""
    near = difflib.get_close_matches(name.strip().lower(), known, n=3, cutoff=0.6)
    names = [item for item in known if ":" not in item]
    if near:
        hint = f"Did you mean {one_of(near)}?"
    elif len(names) <= _SHOWN:
        hint = f"There are: {', '.join(names)}." if names else "There is no machine at all."
    else:
        hint = "`kubestead machines list` shows all."
    return CliError(f"there is no machine {one_line(name)}", one_line(hint))
