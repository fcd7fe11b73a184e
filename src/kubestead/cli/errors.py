# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong, in words: each problem with an exit code and with what to do next."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Any

from kubestead.exit_codes import ExitCode
from kubestead.model.registry import RegistryError
from kubestead.model.registry_lock import RegistryLockedError, RegistryUnwritableError
from kubestead.model.state_api_client import (
    StateApiError,
    StateApiRefusedError,
    StateApiUnreachableError,
)

_WRONG_INPUT = frozenset({400, 413, 415, 422})
_ADVICE = {
    403: "Take a token that may do this (--token-file, KUBESTEAD_API_TOKEN_FILE): an operator's may do all.",
    405: "This State API is older or newer than this command: install the same release on both.",
    429: "Wait a moment and try again.",
    503: "Nothing was changed. Try again; on the API's host: `journalctl -u machine-state-api`.",
}


class CliError(Exception):
    """A command that cannot go on: `text` says why, `advice` what to do, `problems` each of several."""

    def __init__(
        self,
        text: str,
        advice: str = "",
        code: ExitCode = ExitCode.FAILED,
        problems: Sequence[str] = (),
        difference: str = "",
    ) -> None:
        super().__init__(text)
        self.text = text
        self.advice = advice
        self.code = code
        self.problems = tuple(problems)
        self.difference = difference

    def as_dict(self) -> dict[str, Any]:
        """The problem as `--json` prints it on standard error."""
        return {
            "error": self.text,
            "advice": self.advice or None,
            "problems": list(self.problems),
            "difference": self.difference or None,
            "exit_code": int(self.code),
        }


def explain(error: Exception, credential: str = "the token that was sent") -> CliError | None:
    """What an error of the layers below means to a person; None for one that nobody expected.

    `credential` is where the token came from.
    """
    if isinstance(error, CliError):
        return error
    if isinstance(error, StateApiError):
        return _api_error(error, credential)
    if isinstance(error, RegistryError):
        return _registry_error(error)
    # A reader that has left (EPIPE) is no problem: the program ends quietly elsewhere.
    if isinstance(error, OSError) and error.errno not in (None, errno.EPIPE):
        where = error.filename or "the output"
        return CliError(f"{where}: {error.strerror}", code=ExitCode.LACKING)
    return None


def _registry_error(error: RegistryError) -> CliError:
    code = ExitCode.WRONG_INPUT
    if isinstance(error, RegistryLockedError):
        code = ExitCode.BUSY
    elif isinstance(error, RegistryUnwritableError):
        code = ExitCode.LACKING
    problems = [str(problem) for problem in error.problems]
    text = problems[0] if len(problems) == 1 else f"the registry has {len(problems)} problems"
    return CliError(text, "Nothing was changed.", code, problems)


def _api_error(error: StateApiError, credential: str) -> CliError:
    if isinstance(error, StateApiUnreachableError):
        return CliError(
            f"the State API cannot be reached: {error}",
            "On its host: `systemctl status machine-state-api` and `journalctl -u machine-state-api`. "
            "Is the address right (--api-url, KUBESTEAD_API_URL)?",
            ExitCode.LACKING,
        )
    if not isinstance(error, StateApiRefusedError):
        return CliError(
            str(error),
            "Name the address, the token's file and the CA: --api-url, --token-file and --ca-file, or "
            "KUBESTEAD_API_URL, KUBESTEAD_API_TOKEN_FILE and KUBESTEAD_API_CA_FILE.",
            ExitCode.LACKING,
        )
    answer = error.answer if isinstance(error.answer, dict) else {}
    difference = str(answer.get("difference") or "")
    problems = [str(problem) for problem in answer.get("problems") or ()]
    advice = _ADVICE.get(error.status, "")
    if error.status == 401:
        advice = f"{credential} was read: name another file (--token-file, KUBESTEAD_API_TOKEN_FILE)."
    code = ExitCode.WRONG_INPUT if error.status in _WRONG_INPUT else ExitCode.FAILED
    text = f"the State API refuses: {error.detail or error}"
    if error.status in (401, 403):
        text = f"the State API refuses: {error.status} {error.detail}"
    return CliError(text.rstrip(". "), advice, code, problems, difference)
