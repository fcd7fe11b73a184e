# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What provisioning does with each machine: install it, go on with its installation, switch it on, leave it.

A machine that answers is never asked to be installed, nor one that is locked, nor one of which anything was
ever heard: what has a system may only be installed anew by a person who names it (`kubestead machines
reinstall`).
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field

from . import lifecycle
from .boot_decision import MOST_ATTEMPTS
from .phases import INSTALLER_PHASES, PROVISION
from .state_api_machines import View, last_words

NEW, NONE = "new", "none"
ANSWERS, SILENT, UNCLEAR = "answers", "silent", "unclear"

# What ssh says when nobody is there at all. Everything else (a key that is not known, no permission) comes
# from a machine that runs.
_NOBODY = re.compile(
    r"connect to (?:host|address) \S+ port \d+: (?:Connection timed out|Operation timed out|"
    r"Connection refused|No route to host|Network is unreachable|Host is down)|open failed: connect failed: "
    r"|Could not resolve hostname|Name or service not known"
)
_CLOSED = re.compile(
    r"Connection (?:closed by|to) (?:UNKNOWN|unknown) port \d+|Connection timed out during banner"
)

# What nobody has ever installed or adopted is in one of these (None: it is in the registry, and no more).
_FRESH = (None, lifecycle.DISCOVERED, lifecycle.APPROVED)


def answer_of(seen: t.Mapping[str, t.Any]) -> t.Tuple[str, str]:
    """Whether a machine answers by SSH, from the result of `machine_answers`, and what ssh said."""
    said = " ".join(str(seen.get("said") or "it has not been asked").split())
    if seen.get("answers"):
        return ANSWERS, ""
    if _NOBODY.search(said):
        return SILENT, said
    return (UNCLEAR if not seen or _CLOSED.search(said) else ANSWERS), said


@dataclass
class Plan:
    """The machines by what is to be done with them, by name."""

    ask: t.List[str] = field(default_factory=list)
    """An installation is to be asked for."""
    install: t.List[str] = field(default_factory=list)
    """To be switched on, from the network, once; may be reset. Includes those of `ask`."""
    start: t.List[str] = field(default_factory=list)
    """Has a system and is off: to be switched on."""
    wait: t.List[str] = field(default_factory=list)
    """Has not booted yet what is, or will be, installed. Includes those of `install`."""
    reached: t.List[str] = field(default_factory=list)
    settled: t.List[str] = field(default_factory=list)
    """Those of `reached` and `start` that were at work before: nothing is to be reported of them."""
    left: t.Dict[str, str] = field(default_factory=dict)
    """Left alone, and why."""

    def as_dict(self) -> t.Dict[str, t.Any]:
        """The plan as plain data."""
        return dict(vars(self))


def plan(
    machines: t.Mapping[str, str],
    views: t.Mapping[str, View],
    seen: t.Mapping[str, t.Mapping[str, t.Any]],
    wanted: t.Union[str, t.Collection[str]],
) -> Plan:
    """Decide.

    machines: MAC by name. views: what the State API knows, by MAC. seen: by name, how it answered to SSH.
    wanted: NEW, NONE, or the names of those that may be installed. Raises ValueError for a name that is none.
    """
    if wanted not in (NEW, NONE):
        unknown = (
            [name for name in wanted if name not in machines] if not isinstance(wanted, str) else [wanted]
        )
        if unknown:
            raise ValueError(
                f"provision_install is {', '.join(unknown)}, expected {NEW}, {NONE}, or a list of machines "
                f"of the inventory: {', '.join(machines)}"
            )
    made = Plan()
    for name, mac in machines.items():
        view = views.get(mac) or {}
        _place(made, name, view, answer_of(seen.get(name) or {}), wanted)
        if name in made.reached + made.start and _is_settled(view):
            made.settled.append(name)
    return made


def _place(
    made: Plan,
    name: str,
    view: View,
    answer: t.Tuple[str, str],
    wanted: t.Union[str, t.Collection[str]],
) -> None:
    state, installation = view.get("state"), view.get("install") or {}
    desired, completed = installation.get("desired_id"), installation.get("completed_id")
    answers, said = answer
    is_open = bool(desired) and desired != completed
    if not view.get("registered"):
        made.left[name] = "the State API's registry does not have it: kubestead registry diff, then push"
    elif state == lifecycle.RETIRED:
        made.left[name] = f"it is retired: kubestead machines approve {name}"
    elif state == lifecycle.RESCUE:
        made.left[name] = "it is in the rescue system; when it boots again it is what it was"
    elif is_open and not view.get("locked") and state == lifecycle.INSTALLING:
        made.wait.append(name)
    elif is_open and not view.get("locked") and _goes_on(state, installation):
        made.install.append(name)
        made.wait.append(name)
    elif _boots_first(view) and (said or answers != ANSWERS):
        # Its disk is written, and its host key not known yet.
        made.start.append(name)
        made.wait.append(name)
    elif answers == ANSWERS:
        made.reached.append(name)
    elif answers == UNCLEAR:
        made.left[name] = f"it cannot be told whether it runs ({said})"
    elif _has_system(view, completed):
        made.start.append(name)
    elif view.get("locked"):
        made.left[name] = f"it has no system, and is locked: kubestead machines unlock {name}"
    elif wanted == NONE or (wanted != NEW and name not in wanted):
        made.left[name] = "it has no system, and its installation is not wanted (provision_install)"
    else:
        made.ask.append(name)
        made.install.append(name)
        made.wait.append(name)


def _goes_on(state: t.Optional[str], installation: t.Mapping[str, t.Any]) -> bool:
    """Whether an installation that was asked for is yet to begin, or has attempts left."""
    if state == lifecycle.FAILED:
        most = installation.get("most_attempts") or MOST_ATTEMPTS
        return int(installation.get("attempts") or 0) < int(most)
    return state == lifecycle.INSTALL_PENDING


def _boots_first(view: View) -> bool:
    """Whether it was installed, and what was installed has not reported itself."""
    return view.get("state") == lifecycle.INSTALLED and view.get("phase") in INSTALLER_PHASES


def _has_system(view: View, completed: t.Optional[str]) -> bool:
    """Whether anything was ever heard of a system on it: by an installation, or because it was prepared."""
    if completed:
        return True
    asked = (view.get("install") or {}).get("desired_id")
    return view.get("state") not in _FRESH and not (view.get("state") == lifecycle.FAILED and asked)


def _is_settled(view: View) -> bool:
    if view.get("state") == lifecycle.FAILED:
        return view.get("phase") != PROVISION
    return view.get("state") in (lifecycle.PROVISIONING, lifecycle.READY)


def installations(views: t.Mapping[str, View]) -> t.Dict[str, str]:
    """The installation that each machine has completed, by MAC."""
    found = {mac: (view.get("install") or {}).get("completed_id") for mac, view in views.items()}
    return {mac: str(completed) for mac, completed in found.items() if completed}


def write_line(name: str, view: View, entry: t.Mapping[str, t.Any]) -> str:
    """The line for a person who is asked whether a machine's disk may be written."""
    disk = entry.get("disk") or "its only disk"
    return f"{name}  {view.get('mac')}  {entry.get('os') or 'debian-13'} on {disk}{_told(view)}"


def button(
    name: str, view: View, entry: t.Mapping[str, t.Any], installs: bool, seen: t.Mapping[str, t.Any]
) -> str:
    """The line for a person who has to switch a machine on: name, MAC, and where it is, if anybody said."""
    labels, specs = entry.get("labels") or {}, entry.get("specs") or {}
    places = (entry.get("location") or specs.get("location"), entry.get("rack") or labels.get("rack"))
    where = ", ".join(str(place) for place in places if place)
    press = "restart it" if answer_of(seen)[0] == ANSWERS else "switch it on"
    how = f"{press}, from the network" if installs else press
    return f"{name}  {view.get('mac')}{f'  ({where})' if where else ''}: {how}{_told(view)}"


def _told(view: View) -> str:
    words = last_words(view) if view.get("state") == lifecycle.FAILED else ""
    return f" (last time: {words})" if words else ""
