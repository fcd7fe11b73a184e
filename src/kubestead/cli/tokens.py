# SPDX-License-Identifier: GPL-3.0-or-later
"""`kubestead token`: the tokens that open the State API."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from kubestead.exit_codes import ExitCode
from kubestead.model.atomic import write_atomically
from kubestead.model.mac import normalise_mac

from . import completion, durations
from .command import command
from .errors import CliError
from .names import find
from .output import note, one_line, print_json, show
from .session import Session
from .table import simple_table
from .views import age

tokens = typer.Typer(help="The tokens that open the State API.", no_args_is_help=True)


class Scope(StrEnum):
    """What a token may do."""

    OPERATOR = "operator"
    READ = "read"
    MACHINE = "machine"


@command(tokens, "create")
def token_create(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What or who it is for.")],
    scope: Annotated[
        Scope,
        typer.Option(help="operator may do all, read may look, machine may speak for one machine."),
    ],
    *,
    mac: Annotated[
        str | None,
        typer.Option(
            metavar="MAC|HOSTNAME",
            help="The machine, for scope machine.",
            autocompletion=completion.machine_names,
            show_default=False,
        ),
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="How long it is valid: 12h, 30d, 8w. Without it: until revoked.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write it to this file (mode 0600), show it nowhere.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Make a token. It is shown this once: the API keeps its hash only.

    Standard output holds the token and nothing else.
    """
    try:
        lifetime = None if expires is None else durations.seconds(expires)
    except ValueError as error:
        raise CliError(f"--expires: {error}", code=ExitCode.WRONG_INPUT) from None
    if (scope is Scope.MACHINE) != (mac is not None):
        raise CliError("--mac goes with --scope machine, and is needed there", code=ExitCode.WRONG_INPUT)
    _check_output(output)
    made = session.api.create_token(name, scope.value, _mac(session, mac), lifetime)
    secret = made["token"]
    if output is not None:
        try:
            write_atomically(output, f"{secret}\n", 0o600)
        except OSError as error:
            session.api.revoke_token(made["id"])
            raise CliError(
                f"{output}: {error.strerror}", "The token was revoked again.", ExitCode.LACKING
            ) from None
        made = {key: value for key, value in made.items() if key != "token"} | {"file": str(output)}
    if session.json:
        print_json(made)
        return
    note(f"Token {made['id']} ({one_line(made['name'])}): {_described(made)}.")
    if output is None:
        note("It is shown this once:")
        print(secret)
    else:
        note(f"It is in {output}.")


@command(tokens, "list")
def token_list(session: Session) -> None:
    """List the tokens; their secrets are known to nobody."""
    found = session.api.tokens()
    if session.json:
        print_json(found)
        return
    rows = [
        [
            str(token["id"]),
            token["name"],
            token["scope"],
            token["mac"] or "-",
            token["condition"],
            _day(token["expires_at"]) or "never",
            age(token["last_used_at"]),
        ]
        for token in found
    ]
    show(*simple_table(["ID", "Name", "Scope", "Machine", "Condition", "Expires", "Used"], rows))


@command(tokens, "revoke")
def token_revoke(
    session: Session, token: Annotated[str, typer.Argument(metavar="ID|NAME", help="Which one.")]
) -> None:
    """Let a token open nothing from now on."""
    found = session.api.tokens()
    chosen = [item for item in found if str(item["id"]) == token]
    if not chosen:
        chosen = [item for item in found if item["name"] == token and item["condition"] != "revoked"]
    if len(chosen) != 1:
        if chosen:
            which = ", ".join(str(item["id"]) for item in chosen)
            raise CliError(f"{len(chosen)} tokens are called {token}", f"Name one by its id: {which}.")
        raise CliError(f"there is no token {token}", "`kubestead token list` shows all.")
    session.api.revoke_token(chosen[0]["id"])
    if session.json:
        print_json({"id": chosen[0]["id"], "name": chosen[0]["name"], "revoked": True})
    else:
        show(f"Token {chosen[0]['id']} ({one_line(chosen[0]['name'])}) is revoked.")


def _mac(session: Session, mac: str | None) -> str | None:
    """The MAC of the machine: one that the API does not know yet is named by its MAC."""
    if mac is None:
        return None
    try:
        return normalise_mac(mac)
    except ValueError:
        return find(session.api.machines(), mac)


def _check_output(output: Path | None) -> None:
    """Find out beforehand whether the file can be written: a token that nobody has seen is of no use."""
    if output is None:
        return
    if output.exists():
        raise CliError(f"{output} is there already", "Choose another name, or remove it.")
    if not output.parent.is_dir() or not os.access(output.parent, os.W_OK):
        raise CliError(f"{output.parent} is no folder that this user may write to", code=ExitCode.LACKING)


def _described(token: dict[str, Any]) -> str:
    whose = f" of {token['mac']}" if token["mac"] else ""
    ends = f"until {_day(token['expires_at'])}" if token["expires_at"] else "until it is revoked"
    return f"scope {token['scope']}{whose}, valid {ends}"


def _day(moment: str | None) -> str:
    return moment[:16].replace("T", " ") if moment else ""
