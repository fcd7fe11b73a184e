# SPDX-License-Identifier: GPL-3.0-or-later
"""`kubestead claims`: who initialises which cluster. A claim is taken once, and passes on only by force."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.text import Text

from . import completion
from .actions import confirm
from .command import command
from .errors import CliError
from .options import Yes
from .output import as_json, one_line, print_json, show
from .session import Session
from .table import simple_table
from .views import age

claims = typer.Typer(help="The claims of clusters: who initialises them.", no_args_is_help=True)

_NAME = Annotated[str, typer.Argument(metavar="NAME", help="The claim, such as the name of the cluster.")]


@command(claims, "list")
def claims_list(session: Session) -> None:
    """List the claims."""
    found = _claims(session)
    if session.json:
        print_json(found)
        return
    rows = [
        [claim["name"], claim["holder"], claim["state"], str(claim["epoch"]), age(claim["claimed_at"])]
        for claim in found
    ]
    show(*simple_table(["Name", "Holder", "State", "Epoch", "Claimed"], rows))


@command(claims, "show")
def claims_show(session: Session, name: _NAME) -> None:
    """Show one claim, with what its holder has left about the cluster."""
    claim = _claim(session, name)
    if session.json:
        print_json(claim)
        return
    initialized = claim["initialized_at"]
    for key, value in (
        ("name", one_line(claim["name"])),
        ("holder", one_line(claim["holder"])),
        ("state", one_line(claim["state"])),
        ("epoch", str(claim["epoch"])),
        ("claimed", f"{claim['claimed_at']} ({age(claim['claimed_at'])})"),
        ("initialised", f"{initialized} ({age(initialized)})" if initialized else "not yet"),
        ("data", "-" if claim["data"] is None else as_json(claim["data"])),
    ):
        show(Text.assemble(Text(f"{key:<13}", "bold"), value))


@command(claims, "force")
def claims_force(
    session: Session,
    name: _NAME,
    holder: Annotated[
        str,
        typer.Argument(
            metavar="MAC|HOSTNAME", help="Who is to have it.", autocompletion=completion.machine_names
        ),
    ],
    yes: Yes = False,
) -> None:
    """Pass a claim to another holder. If the old one is alive, two clusters may come of it."""
    claim = _claim(session, name)
    confirm(
        f"The claim {claim['name']} is held by {claim['holder']} ({claim['state']}, epoch {claim['epoch']}). "
        f"Pass it to {holder}? If {claim['holder']} is alive, two clusters may come of it.",
        yes,
    )
    forced = session.api.force_claim(name, holder)
    if session.json:
        print_json(forced)
    else:
        show(f"{one_line(forced['name'])}: held by {one_line(forced['holder'])}, epoch {forced['epoch']}")


def _claims(session: Session) -> list[dict[str, Any]]:
    found = session.api.claims()
    return list(found.values()) if isinstance(found, dict) else list(found)


def _claim(session: Session, name: str) -> dict[str, Any]:
    for claim in _claims(session):
        if claim["name"] == name:
            return claim
    raise CliError(f"there is no claim {name}", "`kubestead claims list` shows all.")
