# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Machines as the State API shows them: found by the name that people use, and told in a sentence."""

from __future__ import annotations

import difflib
import typing as t
from datetime import datetime, timezone

from .mac import is_mac, normalise_mac
from .state_api_errors import StateApiError

View = t.Mapping[str, t.Any]
Views = t.Mapping[str, View]

_SHOWN = 200


class UnknownMachineError(StateApiError):
    """A name that neither the registry nor the store knows."""


def find_mac(views: Views, name: str) -> str:
    """The MAC, in normal form, of the machine called `name`: its MAC in any notation, or its host name.

    A MAC need not be known yet; a host name that is not raises UnknownMachineError.
    """
    if is_mac(name):
        return normalise_mac(name)
    wanted = name.strip().lower()
    names = {view["hostname"]: mac for mac, view in views.items() if view.get("hostname")}
    if wanted in names:
        return names[wanted]
    near = difflib.get_close_matches(wanted, names, n=1)
    if near:
        hint = f"did you mean {near[0]}?"
    elif names:
        shown = sorted(names)
        more = f" and {len(shown) - 10} more" if len(shown) > 10 else ""
        hint = f"there are {', '.join(shown[:10])}{more}"
    else:
        hint = "its registry has no machine"
    raise UnknownMachineError(f"the State API knows no machine {name}: {hint}")


def called(mac: str, view: t.Optional[View]) -> str:
    """What people call a machine."""
    return str((view or {}).get("hostname") or mac)


def condition(view: t.Optional[View], now: t.Optional[datetime] = None) -> str:
    """How a machine is, to go after its name: `is installing (prepare, 40 %), 3 min ago: "…"`."""
    if not view or not view.get("state"):
        return "has not reported yet"
    share = view.get("progress")
    details = [str(view.get("phase") or ""), "" if share is None else f"{share} %"]
    inside = ", ".join(part for part in details if part)
    age = _age(view.get("updated_at"), now or datetime.now(timezone.utc))
    words = last_words(view)
    text = f"is {view['state']}{f' ({inside})' if inside else ''}{f', {age}' if age else ''}"
    return f'{text}: "{words}"' if words else text


def last_words(view: View) -> str:
    """What a machine said last that explains its state, on one line and shortened."""
    text = " ".join(str(view.get("error") or view.get("message") or "").split())
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _age(moment: t.Any, now: datetime) -> str:
    try:
        seconds = (now - datetime.fromisoformat(str(moment).replace("Z", "+00:00"))).total_seconds()
    except (TypeError, ValueError):
        return ""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return f"{max(0, int(seconds))} s ago"
