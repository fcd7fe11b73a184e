# SPDX-License-Identifier: GPL-3.0-or-later
"""Reaching the State API, and saying plainly why not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, NoReturn

import typer

from kubestead.exit_codes import ExitCode
from kubestead.model.state_api_client import (
    StateApiClient,
    StateApiError,
    StateApiRefusedError,
    StateApiUnreachableError,
    read_token,
)

UNAUTHORIZED = 401

ApiUrl = Annotated[
    str, typer.Option("--api-url", envvar="KUBESTEAD_API_URL", help="Where the State API is.", metavar="URL")
]
TokenFile = Annotated[
    str,
    typer.Option(
        "--token-file", envvar="KUBESTEAD_API_TOKEN_FILE", help="The file with its token.", metavar="FILE"
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

DEFAULT_URL = "http://127.0.0.1:8080"
DEFAULT_BEARER_FILE = "/etc/kubestead/state-api.token"  # as the role puts it on the API's own host


@contextmanager
def connected(url: str, token_file: str) -> Iterator[StateApiClient]:
    """A client for the API. What goes wrong with it ends the program with a sentence and an exit code."""
    try:
        client = StateApiClient(url, read_token(token_file))
        try:
            yield client
        finally:
            client.close()
    except StateApiUnreachableError as error:
        problem, code = f"The State API cannot be reached: {error}.", ExitCode.LACKING
        advice = (
            "On its host: `systemctl status machine-state-api` and `journalctl -u machine-state-api`. "
            "Is the address right (--api-url, KUBESTEAD_API_URL)?"
        )
    except StateApiRefusedError as error:
        problem, code, advice = f"The State API refuses: {error}.", ExitCode.FAILED, ""
        if error.status == UNAUTHORIZED:
            advice = f"{token_file} was read: name another file (--token-file, KUBESTEAD_API_TOKEN_FILE)."
    except StateApiError as error:
        problem, code = f"{error}.", ExitCode.LACKING
        advice = (
            "Name the address and the file with the token: --api-url and --token-file, "
            "or KUBESTEAD_API_URL and KUBESTEAD_API_TOKEN_FILE."
        )
    else:
        return
    fail(code, problem, advice)


def fail(code: ExitCode, problem: str, advice: str = "") -> NoReturn:
    """End the program with a sentence on standard error."""
    print(f"kubestead: {problem}", file=sys.stderr)
    if advice:
        print(advice, file=sys.stderr)
    raise typer.Exit(int(code))
