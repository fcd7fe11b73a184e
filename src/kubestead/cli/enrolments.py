# SPDX-License-Identifier: GPL-3.0-or-later
"""`kubestead machines adopt`: machines that ask to be taken, each with a code that it shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from kubestead.exit_codes import ExitCode
from kubestead.model.state_api_client import StateApiRefusedError

from .actions import confirm
from .errors import CliError
from .options import Yes
from .output import note, one_line, print_json, show
from .session import Session
from .table import simple_table
from .views import age

Asking = Mapping[str, Any]


def machines_adopt(
    session: Session,
    code: Annotated[
        str | None,
        typer.Argument(metavar="CODE", help="As the machine shows it; without one, all are listed."),
    ] = None,
    *,
    refuse: Annotated[bool, typer.Option("--refuse", help="Refuse it.")] = False,
    yes: Yes = False,
) -> None:
    """Adopt a machine that is installed already and asks for it, by the code that stands on its console.

    Without a code, show who asks.
    """
    asking: list[Asking] = session.api.enrolments()
    if code is None:
        if refuse:
            raise CliError("--refuse needs the CODE of one machine", code=ExitCode.WRONG_INPUT)
        _list(session, asking)
        return
    wanted = code.strip().upper()
    found = next((each for each in reversed(asking) if each["code"] == wanted), None)
    if found is None:
        waiting = [each["code"] for each in asking if each["condition"] == "waiting"]
        there = f"There are: {', '.join(waiting)}." if waiting else "No machine asks for it now."
        raise CliError(f"no machine asks to be adopted with the code {one_line(wanted)}", there)
    if found["condition"] == "waiting" and not refuse:
        for line in _described(found):
            note(line)
        confirm(f"Adopt it? Only if {wanted} stands on the machine itself.", yes)
    try:
        decided = session.api.decide_enrolment(wanted, not refuse)
    except StateApiRefusedError as error:
        raise CliError(one_line(error.detail)) from None
    if session.json:
        print_json(decided)
        return
    if refuse:
        show(f"{wanted} ({decided['mac']}): refused")
        return
    show(f"{_name(decided)} ({decided['mac']}): adopted ({decided['state'] or 'no state'})")
    if decided["registered_hostname"] is None:
        name = one_line(decided["hostname"]) or "HOSTNAME"
        note(f"It is not in the registry yet: `kubestead machines add {decided['mac']} {name} ROLE ARCH`.")


def _list(session: Session, asking: list[Asking]) -> None:
    waiting = [each for each in asking if each["condition"] == "waiting"]
    if session.json:
        print_json(waiting)
        return
    if not waiting:
        show("No machine asks to be adopted.")
        return
    rows = [
        [
            each["code"],
            each["mac"],
            each["peer"] or "-",
            each["hostname"] or "-",
            _in_registry(each),
            age(each["created_at"]),
        ]
        for each in waiting
    ]
    show(*simple_table(["Code", "MAC", "From", "Says it is", "In the registry", "Asked"], rows))
    note("`kubestead machines adopt CODE` adopts the machine that shows the code; --refuse sends it away.")


def _described(asking: Asking) -> list[str]:
    """What a person should know before saying yes."""
    hardware = asking["hardware"]
    memory = hardware.get("memory_bytes")
    parts = [hardware.get("product"), hardware.get("cpu"), memory and f"{memory / 2**30:.1f} GiB memory"]
    parts += [f"{len(hardware.get('disks', ()))} disks", *hardware.get("gpus", ())]
    says = ", ".join(one_line(str(part)) for part in parts if part)
    return [
        f"{asking['mac']}, from {asking['peer'] or 'an unknown address'}, asked {age(asking['created_at'])}",
        f"says it is {one_line(asking['hostname']) or 'nobody'}: {says}",
        f"in the registry: {_in_registry(asking)}",
    ]


def _in_registry(asking: Asking) -> str:
    if asking["registered_hostname"] is None:
        return "not there"
    return f"{asking['registered_hostname']} ({asking['state'] or 'not reported'})"


def _name(asking: Asking) -> str:
    return one_line(asking["registered_hostname"] or asking["hostname"] or asking["code"])
