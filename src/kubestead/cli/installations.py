# SPDX-License-Identifier: GPL-3.0-or-later
"""`kubestead machines install|reinstall|rescue`: what a machine boots next, and what became of its disk."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from kubestead.exit_codes import ExitCode

from . import completion
from .actions import act, confirm
from .errors import CliError
from .names import find
from .options import SomeMachines, Yes
from .output import one_line
from .session import Session
from .views import View, age, called, titled

_INSTALL_LOG = "install_log"
_LOG_LINES = 10


def machines_install(session: Session, names: SomeMachines, yes: Yes = False) -> None:
    """Install new machines at their next boot; a disk that is not empty is refused.

    A machine that has a system already is refused, too: `reinstall` is for those.
    """
    views: dict[str, View] = session.api.machines()
    macs = list(dict.fromkeys(find(views, name) for name in names))
    confirm(
        f"Install {_listed(views, macs)} at the next boot? An empty disk is written; one that is not empty "
        "is left as it is, and the installation fails.",
        yes,
    )
    act(session, macs, "install", views)


def machines_reinstall(
    session: Session,
    hostname: Annotated[
        str,
        typer.Argument(
            metavar="HOSTNAME",
            help="The machine, by its host name in full.",
            autocompletion=completion.machine_names,
        ),
    ],
    yes: Yes = False,
) -> None:
    """Install a machine anew at its next boot: what is on its disk is lost."""
    views: dict[str, View] = session.api.machines()
    mac = find(views, hostname)
    view = views[mac]
    if view["hostname"] != hostname.strip().lower():
        raise CliError(
            f"{mac} is {called(view)}: a reinstall is asked for by the host name",
            f"kubestead machines reinstall {called(view)}",
            ExitCode.WRONG_INPUT,
        )
    confirm(f"Install {called(view)} ({mac}) anew? What is on its disk is lost.", yes)
    act(session, [mac], "reinstall", views, hostname=hostname.strip().lower(), version=view["version"])


def machines_rescue(session: Session, names: SomeMachines, yes: Yes = False) -> None:
    """Boot machines once into a small system in memory, with SSH; their disks are not touched."""
    views: dict[str, View] = session.api.machines()
    macs = list(dict.fromkeys(find(views, name) for name in names))
    confirm(
        f"Boot {_listed(views, macs)} into the rescue system, once, at the next boot? No disk is touched.",
        yes,
    )
    act(session, macs, "rescue", views)


def installation_facts(session: Session, view: View) -> list[tuple[str, str]]:
    """How far the installation of a machine is, and how its installer's log ends where that has failed."""
    install, rescue = view["install"], view["rescue"]
    facts: list[tuple[str, str]] = []
    if install["desired_id"] or install["completed_id"]:
        facts.append(("install", _installation(install)))
    if rescue["from_state"]:
        given = rescue["handed_out_at"]
        what = f"handed out {age(given)}; its next boot ends it" if given else "waits for its next boot"
        facts.append(("rescue", f"{what}, then it is {one_line(rescue['from_state'])} again"))
    if view["state"] == "failed" and install["desired_id"] != install["completed_id"]:
        facts += _log(session, view["mac"])
    return facts


def _installation(install: dict[str, Any]) -> str:
    if install["desired_id"] == install["completed_id"]:
        return f"done ({one_line(install['completed_id'])})"
    parts = [f"wanted ({one_line(install['desired_id'])})"]
    if install["attempts"]:
        given = f", {age(install['handed_out_at'])}" if install["handed_out_at"] else ""
        parts.append(f"attempt {install['attempts']} of {install['most_attempts']}{given}")
    parts.append("its disk is overwritten" if install["overwrite"] else "only an empty disk is written")
    return "; ".join(parts)


def _log(session: Session, mac: str) -> list[tuple[str, str]]:
    kept = session.api.data_or_none(mac, _INSTALL_LOG)
    if kept is None:
        return []
    lines = str(kept["value"].get("text", "")).rstrip().splitlines()[-_LOG_LINES:]
    title = f"attempt {kept['value'].get('attempt', '?')}, {age(kept['updated_at'])}"
    return [("install log", "\n".join([title, *map(one_line, lines)]))]


def _listed(views: dict[str, View], macs: list[str]) -> str:
    return ", ".join(titled(views[mac]) for mac in macs)
