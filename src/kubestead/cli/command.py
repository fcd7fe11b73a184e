# SPDX-License-Identifier: GPL-3.0-or-later
"""How a function becomes a command: the options that all have, and how it ends when something goes wrong."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec, cast

import typer

from kubestead.exit_codes import ExitCode

from .errors import CliError, explain
from .output import give_up, report
from .session import Session

P = ParamSpec("P")

_API = {
    "api_url": Annotated[
        str,
        typer.Option(
            "--api-url",
            envvar="KUBESTEAD_API_URL",
            metavar="URL",
            help="Where the State API is.",
            rich_help_panel="State API",
            show_default="this host's own",
        ),
    ],
    "token_file": Annotated[
        str,
        typer.Option(
            "--token-file",
            envvar="KUBESTEAD_API_TOKEN_FILE",
            metavar="FILE",
            help="The file with its token.",
            rich_help_panel="State API",
            show_default="this host's own",
        ),
    ],
    "ca_file": Annotated[
        str,
        typer.Option(
            "--ca-file",
            envvar="KUBESTEAD_API_CA_FILE",
            metavar="FILE",
            help="The CA that signs its certificate.",
            rich_help_panel="State API",
            show_default="this host's own",
        ),
    ],
}
_JSON = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
_REGISTRY = Annotated[
    Path | None,
    typer.Option(
        "--registry",
        metavar="FILE",
        help="Work on this registry file; no API is asked.",
        show_default=False,
    ),
]
_NO_REGISTRY = Annotated[Path | None, typer.Option("--registry", hidden=True)]


def command(
    group: typer.Typer, name: str, *, registry: bool | None = None, api: bool = True
) -> Callable[[Callable[Concatenate[Session, P], None]], Callable[..., None]]:
    """Make a function a command of `group`; its first argument is the session that the common options make.

    registry: whether `--registry FILE` may stand for the API; False says that only the API can do it, None
    that nobody would expect it. api: whether the State API is asked at all.
    """

    def decorate(function: Callable[Concatenate[Session, P], None]) -> Callable[..., None]:
        work = cast(Callable[..., None], function)

        @functools.wraps(function)
        def run(**values: Any) -> None:
            session = Session(
                values.pop("api_url", ""),
                values.pop("token_file", ""),
                values.pop("ca_file", ""),
                values.pop("registry_file", None),
                values.pop("as_json", False),
            )
            try:
                if registry is False and session.registry_file is not None:
                    raise CliError(
                        f"`{name}` is about the state of machines, which no registry file holds",
                        "Leave --registry away and ask the State API (--api-url).",
                        ExitCode.WRONG_INPUT,
                    )
                work(session, **values)
                sys.stdout.flush()  # a full disk is to be told here, and not at the interpreter's end
            except Exception as error:
                explained = explain(error, session.token_file)
                if explained is None:
                    raise
                report(explained, session.json)
                if isinstance(error, OSError) and not error.filename:
                    give_up()
                raise typer.Exit(int(explained.code)) from None
            finally:
                session.close()

        _give_signature(run, work, _options(registry, api))
        group.command(name)(run)
        return run

    return decorate


def _options(registry: bool | None, api: bool) -> list[inspect.Parameter]:
    options: dict[str, tuple[Any, Any]] = {}
    if registry is not None:
        options["registry_file"] = (_REGISTRY if registry else _NO_REGISTRY, None)
    options["as_json"] = (_JSON, False)
    if api:
        options.update({option: (annotation, "") for option, annotation in _API.items()})
    return [
        inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for option, (annotation, default) in options.items()
    ]


def _give_signature(
    run: Callable[..., None], function: Callable[..., None], options: list[inspect.Parameter]
) -> None:
    """Tell Typer the function's own arguments (all but the session) and the common ones."""
    _session, *own = inspect.signature(function, eval_str=True).parameters.values()
    parameters = [*(item.replace(kind=inspect.Parameter.KEYWORD_ONLY) for item in own), *options]
    vars(run)["__signature__"] = inspect.Signature(parameters)
    run.__annotations__ = {item.name: item.annotation for item in parameters}
