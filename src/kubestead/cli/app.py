# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands and their options."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib import import_module
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from kubestead.exit_codes import ExitCode
from kubestead.model.mac import normalise_mac
from kubestead.model.state_api_client import StateApiClient, StateApiError

from . import views
from .connection import DEFAULT_BEARER_FILE, DEFAULT_URL, ApiUrl, AsJson, TokenFile, connected, fail

app = typer.Typer(
    name="kubestead",
    help="See and steer the machines of a homelab.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
machines = typer.Typer(help="The machines of the registry.", no_args_is_help=True)
app.add_typer(machines, name="machines")

WhichMachine = Annotated[
    str | None,
    typer.Argument(metavar="[MAC|HOSTNAME]", help="One machine; without it, all.", show_default=False),
]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and end with its exit code.

    Typer itself ends it with 130 after Ctrl-C, and with 1 where nobody reads the output any more.
    """
    app(args=None if arguments is None else list(arguments))


@machines.command("list")
def machines_list(
    api_url: ApiUrl = DEFAULT_URL, token_file: TokenFile = DEFAULT_BEARER_FILE, as_json: AsJson = False
) -> None:
    """List the machines with what they should be and how they are."""
    states = _states(api_url, token_file)
    _show(views.machine_table(states), states, as_json)


@machines.command("status")
def machines_status(
    machine: WhichMachine = None,
    api_url: ApiUrl = DEFAULT_URL,
    token_file: TokenFile = DEFAULT_BEARER_FILE,
    as_json: AsJson = False,
) -> None:
    """Show how one machine is, or all are."""
    states = _states(api_url, token_file)
    if machine is None:
        _show(views.machine_table(states), states, as_json)
        return
    mac = _find(states, machine)
    _show(views.one_machine(mac, states[mac]), {mac: states[mac]}, as_json)


@app.command()
def status(
    api_url: ApiUrl = DEFAULT_URL, token_file: TokenFile = DEFAULT_BEARER_FILE, as_json: AsJson = False
) -> None:
    """Show whether the State API is well, how many machines are in which state, and which have failed."""
    with connected(api_url, token_file) as client:
        health, states = client.request("GET", "/healthz"), client.states()
    failed = {mac: state for mac, state in states.items() if state["state"] == "failed"}
    if as_json:
        _print_json({"api": {"url": api_url, **health}, "states": views.counts(states), "failed": failed})
        return
    console = Console()
    registry = f"registry {health['registry']}"
    if health["registry"] == "invalid":
        registry += " (the last valid one is in force; the API's log says what is wrong)"
    console.print(
        f"State API {health['version']} at {api_url}: {health['status']}, {registry}", highlight=False
    )
    console.print(views.summary(states))
    if failed:
        console.print()
        console.print(views.machine_table(failed))


@app.command()
def monitor(
    once: Annotated[bool, typer.Option("--once", help="Show it once, and end.")] = False,
    interval: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.2)] = 2.0,
    api_url: ApiUrl = DEFAULT_URL,
    token_file: TokenFile = DEFAULT_BEARER_FILE,
    as_json: AsJson = False,
) -> None:
    """Watch the machines, until Ctrl-C."""
    if once:
        states = _states(api_url, token_file)
        _show(views.overview(states), states, as_json)
        return
    if as_json:
        fail(ExitCode.WRONG_INPUT, "monitor shows a picture that changes: --json goes with --once.")
    with connected(api_url, token_file) as client, Live(Text("…"), screen=True, auto_refresh=False) as screen:
        _watch(client, screen, interval)


@app.command(
    "api",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
)
def api(context: typer.Context) -> None:
    """Run the State API (see `kubestead api --help`)."""
    # The server is slow to import, and nothing else needs it.
    raise typer.Exit(import_module("kubestead.api.server").main(context.args, program="kubestead api"))


def _watch(client: StateApiClient, screen: Live, interval: float) -> None:
    states = client.states()  # an API that is not there at the start ends the command; later it may come back
    trouble = ""
    while True:
        clock = Text(f"{datetime.now(timezone.utc):%H:%M:%S} UTC  ", style="dim").append(
            trouble, style="bold red"
        )
        screen.update(views.overview(states, clock), refresh=True)
        time.sleep(interval)
        try:
            states, trouble = client.states(), ""
        except StateApiError as error:
            trouble = f"{error}: shown is what it said last"


def _states(api_url: str, token_file: str) -> dict[str, Any]:
    with connected(api_url, token_file) as client:
        found: dict[str, Any] = client.states()
    return found


def _find(states: dict[str, Any], name: str) -> str:
    try:
        mac = normalise_mac(name)
    except ValueError:
        mac = next((mac for mac, machine in states.items() if machine["hostname"] == name.lower()), "")
    if mac not in states:
        known = ", ".join(machine["hostname"] for machine in states.values() if machine["hostname"]) or "none"
        fail(ExitCode.FAILED, f"there is no machine {name} (known: {known}).")
    return mac


def _show(picture: Any, data: Any, as_json: bool) -> None:
    if as_json:
        _print_json(data)
        return
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, 200)  # a file or a pipe has no edge at which to break lines
    console.print(picture)


def _print_json(data: Any) -> None:
    print(json.dumps(data, indent=2, ensure_ascii=False))
