# SPDX-License-Identifier: GPL-3.0-or-later
"""What every command is told: where the State API or the registry file is, and who reads the output."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

from kubestead.model.state_api_client import StateApiClient, StateApiError, read_token

# As the role state_api leaves them on the API's own host.
HOST_TOKEN = Path("/etc/kubestead/state-api.token")
HOST_CA = Path("/etc/kubestead/pki/ca.crt")
PORT = 8080

_THIS_HOST = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True)
class Session:
    """One run of a command."""

    given_url: str = ""
    given_token_file: str = ""
    given_ca_file: str = ""
    registry_file: Path | None = None
    json: bool = False

    @cached_property
    def url(self) -> str:
        """Where the API is: as told, else on this computer."""
        if self.given_url:
            return self.given_url
        return f"{'https' if _exists(HOST_CA) else 'http'}://127.0.0.1:{PORT}"

    @cached_property
    def local(self) -> bool:
        """Whether the API is on this computer, so that this computer's token and CA are the API's."""
        try:
            return urlsplit(self.url).hostname in _THIS_HOST
        except ValueError:
            return False

    @property
    def token_file(self) -> str:
        """The file with the token. This host's own is for this host's own API only: it goes nowhere else."""
        return self.given_token_file or (str(HOST_TOKEN) if self.local else "")

    @property
    def ca_file(self) -> str | None:
        """The file with the CA that signs the API's certificate; None for those that the system trusts."""
        return self.given_ca_file or (str(HOST_CA) if self.local and _exists(HOST_CA) else None)

    @cached_property
    def api(self) -> StateApiClient:
        """A client with the token."""
        return self.client()

    def client(self, timeout: float = 30.0) -> StateApiClient:
        """Another client, for a thread of its own or for an answer that is wanted at once."""
        return StateApiClient(self.url, self._token(), timeout=timeout, ca_file=self.ca_file)

    def _token(self) -> str:
        if not self.token_file:
            raise StateApiError(f"{self.url}: no file with a token for this State API is named")
        return read_token(self.token_file)

    def close(self) -> None:
        """Close the client, if there was one."""
        client = self.__dict__.get("api")
        if client is not None:
            client.close()


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a folder that this user may not look into
        return False
