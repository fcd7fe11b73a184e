# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands, put together."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from importlib import import_module, metadata
from typing import Annotated

import typer

from .claims import claims
from .command import command
from .events import show_events
from .machines import machines
from .session import Session
from .stores import back_up, restore, store
from .sync import registry
from .tokens import tokens

app = typer.Typer(
    name="kubestead",
    help="See and steer the machines of a homelab.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and end with its exit code.

    Typer itself ends it with 130 after Ctrl-C, and with 1 where nobody reads the output any more.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what a terminal of old cannot show is no reason to fail
            stream.reconfigure(errors="replace")
    app(args=None if arguments is None else list(arguments), prog_name="kubestead")


def _tell_version(wanted: bool) -> None:
    if wanted:
        print(f"kubestead {metadata.version('kubestead')}")
        raise typer.Exit


@app.callback()
def kubestead(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """See and steer the machines of a homelab."""


@command(app, "status")
def status(
    session: Session,
    server: Annotated[bool, typer.Option("--server", help="Look at the API's host more closely.")] = False,
) -> None:
    """Show whether all is well: the State API, the registry, and the machines that have failed."""
    import_module("kubestead.cli.status").show_status(session, server)


@command(app, "monitor")
def monitor(
    session: Session, once: Annotated[bool, typer.Option("--once", help="Show it once, and end.")] = False
) -> None:
    """Watch the machines, full-screen and live. q ends it, arrows scroll, f shows the failed, / searches."""
    import_module("kubestead.cli.monitor").monitor(session, once)


command(app, "events")(show_events)


@app.command(
    "api",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
)
def api(context: typer.Context) -> None:
    """Run the State API (see `kubestead api --help`)."""
    # The server is slow to import, and nothing else needs it.
    raise typer.Exit(import_module("kubestead.api.server").main(context.args, program="kubestead api"))


app.add_typer(machines, name="machines")
app.add_typer(registry, name="registry")
app.add_typer(tokens, name="token")
app.add_typer(claims, name="claims")
command(app, "backup")(back_up)
command(app, "restore", api=False)(restore)
app.add_typer(store, name="store")
