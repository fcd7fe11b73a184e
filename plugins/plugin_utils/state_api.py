# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The way of controller plugins to the State API: by their options, else where its role has left word."""

from __future__ import annotations

import os
import typing as t

from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.kubestead.homelab.plugins.module_utils.cache import default_cache
from ansible_collections.kubestead.homelab.plugins.module_utils.state_api_client import (
    StateApiClient,
    StateApiError,
    read_token,
)

GROUP = "state_api"
_VARIABLES = (
    "kubestead_api_url",
    "kubestead_api_token_file",
    "kubestead_api_ca_file",
    "kubestead_api_timeout",
    "kubestead_registry",
    "machine_mac",
)


class Address(t.NamedTuple):
    """Where the API is, and what opens it; empty where nobody has said so."""

    url: str
    token_file: str
    ca_file: str

    def connect(self, timeout: float, correlation_id: t.Optional[str] = None) -> StateApiClient:
        """A client, by the files as they are now; raises StateApiError, which says what is missing."""
        for name, value in (("api_url", self.url), ("api_token_file", self.token_file)):
            if not value:
                raise StateApiError(
                    f"{name} is not set, and no host in the group {GROUP} tells it. Set api_url and "
                    "api_token_file as options, as variables kubestead_api_url and kubestead_api_token_file, "
                    "or KUBESTEAD_API_URL and KUBESTEAD_API_TOKEN_FILE in the environment"
                )
        token = read_token(self.token_file)
        return StateApiClient(self.url, token, timeout, self.ca_file or None, correlation_id)


class Place(t.NamedTuple):
    """What options and inventory say of the API. Files that its role makes may come later than this."""

    url: str
    token_file: str
    ca_file: str
    default_ca_file: str = ""

    def address(self) -> Address:
        """The address by the files that are there now."""
        ca_file = self.ca_file
        if not ca_file and self.default_ca_file and os.path.exists(self.default_ca_file):
            ca_file = self.default_ca_file
        return Address(self.url, self.token_file, ca_file)


def option_variables(variables: t.Mapping[str, t.Any], templar: t.Any) -> t.Dict[str, t.Any]:
    """The variables that set options. Ansible hands them over as they are written; here they are values."""
    return {name: templar.template(variables[name]) for name in _VARIABLES if name in variables}


def find(get_option: t.Callable[[str], t.Any], variables: t.Mapping[str, t.Any]) -> Place:
    """The API by the options `api_*`; what they leave out, by the first host of the group `state_api`."""
    url, token_file, ca_file = (
        str(get_option(name) or "") for name in ("api_url", "api_token_file", "api_ca_file")
    )
    servers = variables.get("groups", {}).get(GROUP, [])
    if not servers:
        return Place(url, token_file, ca_file)
    name = servers[0]
    server = variables["hostvars"][name]
    # Where role state_api leaves what it fetches from the host.
    kept = default_cache() / "state-api"
    return Place(
        url or _url(name, server),
        token_file or str(server.get("state_api_token_file") or kept / f"{name}.token"),
        ca_file,
        str(server.get("state_api_ca_file") or kept / f"{name}.ca.crt"),
    )


def connect(plugin: t.Any, variables: t.Mapping[str, t.Any]) -> StateApiClient:
    """A client for a lookup; raises StateApiError."""
    return find(plugin.get_option, variables).address().connect(plugin.get_option("api_timeout"))


def _url(name: str, server: t.Mapping[str, t.Any]) -> str:
    scheme = "https" if boolean(server.get("state_api_tls", True), strict=False) else "http"
    host = str(server.get("ansible_host", name))
    port = server.get("state_api_port", 8080)
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
