# SPDX-License-Identifier: GPL-3.0-or-later
"""Arguments and options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

from . import completion

SomeMachine = Annotated[
    str,
    typer.Argument(
        metavar="MAC|HOSTNAME",
        help="The machine: its host name, or its MAC in any notation.",
        autocompletion=completion.machine_names,
        show_default=False,
    ),
]
SomeMachines = Annotated[
    list[str],
    typer.Argument(
        metavar="MAC|HOSTNAME",
        help="The machines: host names, or MACs in any notation.",
        autocompletion=completion.machine_names,
        show_default=False,
    ),
]
MaybeMachine = Annotated[
    str | None,
    typer.Argument(
        metavar="MAC|HOSTNAME",
        help="One machine; without it, all.",
        autocompletion=completion.machine_names,
        show_default=False,
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
