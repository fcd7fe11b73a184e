# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The way of modules to the State API, by the options of the doc fragment `state_api`."""

from __future__ import annotations

import typing as t
from contextlib import contextmanager

from ansible.module_utils.basic import env_fallback

from .state_api_client import (
    StateApiClient,
    StateApiError,
    StateApiRefusedError,
    StateApiUnreachableError,
    read_token,
)

API_OPTIONS: t.Dict[str, t.Dict[str, t.Any]] = {
    "api_url": {"type": "str", "fallback": (env_fallback, ["KUBESTEAD_API_URL"])},
    "api_token_file": {
        "type": "path",
        "no_log": False,
        "fallback": (env_fallback, ["KUBESTEAD_API_TOKEN_FILE"]),
    },
    "api_ca_file": {"type": "path", "fallback": (env_fallback, ["KUBESTEAD_API_CA_FILE"])},
    "api_timeout": {"type": "float", "default": 5, "fallback": (env_fallback, ["KUBESTEAD_API_TIMEOUT"])},
}


def with_api(**own: t.Dict[str, t.Any]) -> t.Dict[str, t.Dict[str, t.Any]]:
    """A module's argument spec: its own options and those of the State API."""
    return {**own, **API_OPTIONS}


def api_client(module: t.Any) -> StateApiClient:
    """A client for the API that the module's options name; raises StateApiError, which says what to set."""
    for name in ("api_url", "api_token_file"):
        if not module.params[name]:
            raise StateApiError(
                f"{name} is not set. Set api_url and api_token_file, for all modules at once by "
                "module_defaults with group/kubestead.homelab.state_api, or KUBESTEAD_API_URL and "
                "KUBESTEAD_API_TOKEN_FILE in the environment of the host that the module runs on"
            )
    return StateApiClient(
        module.params["api_url"],
        read_token(module.params["api_token_file"]),
        timeout=module.params["api_timeout"],
        ca_file=module.params["api_ca_file"] or None,
    )


@contextmanager
def connected(module: t.Any) -> t.Iterator[StateApiClient]:
    """The API, while the module works with it; what goes wrong ends the module with a sentence."""
    try:
        client = api_client(module)
        try:
            yield client
        finally:
            client.close()
    except StateApiError as error:
        fail(module, error)


def fail(module: t.Any, error: StateApiError, **more: t.Any) -> t.NoReturn:
    """End the module with what went wrong, and what to do about it."""
    if isinstance(error, StateApiRefusedError):
        more.setdefault("status", error.status)
    module.fail_json(msg=in_words(error, module.params["api_token_file"]), **more)
    raise AssertionError("fail_json does not return")


def in_words(error: StateApiError, token_file: t.Any) -> str:
    """What went wrong in a sentence or two, and what to do about it."""
    if isinstance(error, StateApiUnreachableError):
        msg = f"The State API cannot be reached: {error}. Is it running, and is api_url right?"
    elif isinstance(error, StateApiRefusedError):
        msg = f"The State API refuses: {error.detail or error}"
        if error.status == 401:
            msg = f"{msg} ({token_file} was read: does api_token_file name the right file?)"
    else:
        msg = str(error)
    return msg if msg.endswith((".", ")", "?")) else f"{msg}."
