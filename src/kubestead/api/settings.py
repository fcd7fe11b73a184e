# SPDX-License-Identifier: GPL-3.0-or-later
"""What the State API is told at start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path

from sqlalchemy.engine import URL

from kubestead.installers.settings import DEFAULT_FILE

DEFAULT_PORT = 8080
DEFAULT_DATABASE = Path("/srv/state/machines.db")
DEFAULT_REGISTRY = Path("/srv/http/machines/registry.json")
DEFAULT_RATE = 200  # requests a second from one address; twice as many in a burst
VALUE_LIMIT = 256 * 1024
REGISTRY_LIMIT = 16 * 1024 * 1024  # some fifty thousand machines
BODY_LIMIT = 2 * VALUE_LIMIT  # room for the largest value written with escapes and white space
HEADER_LIMIT = 32 * 1024  # request line and headers together
CLIENT_SECONDS = 10.0  # for a first byte, for a TLS handshake, for a request's headers
CONNECTION_LIMIT = 4096
CONNECTIONS_PER_CLIENT = 2048  # a proxy, or one address with many dashboards behind it

Networks = tuple[IPv4Network | IPv6Network, ...]


class SettingsError(Exception):
    """The API cannot be started like that; the message says what to change."""


@dataclass(frozen=True)
class Settings:
    """Where the State API finds its things, and what it lets pass."""

    token_file: Path
    database: Path = DEFAULT_DATABASE
    registry: Path = DEFAULT_REGISTRY
    remote_database: str | None = field(default=None, repr=False)  # a URL with a password in it
    registry_poll_seconds: float = 2.0
    body_limit: int = BODY_LIMIT
    header_limit: int = HEADER_LIMIT
    rate: int = DEFAULT_RATE
    client_seconds: float = CLIENT_SECONDS
    connections: int = CONNECTION_LIMIT
    connections_per_client: int = CONNECTIONS_PER_CLIENT
    plain_reads: Networks = ()
    trusted_proxies: Networks = ()
    deadlines: Mapping[str, int] = field(default_factory=dict)  # of a state in seconds, 0: it has none
    accept_features: bool = False  # what hardware proposes is written into the registry by itself
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    boot_port: int = 0  # 0: no boot files are served
    boot_dir: Path | None = None
    boot_settings: Path = DEFAULT_FILE  # what all installations share; may be missing, then none begins

    @property
    def database_url(self) -> str:
        """Where the state store is: the URL that was given, else the SQLite file."""
        if self.remote_database is not None:
            return self.remote_database
        return URL.create("sqlite", database=str(self.database)).render_as_string(hide_password=False)

    @property
    def data_dir(self) -> Path:
        """The folder that the service may write to, whatever kind of database it uses."""
        return self.database.parent

    @property
    def last_good_registry(self) -> Path:
        """A copy of the last valid registry: a restart in the middle of an edit must not lose it."""
        return self.data_dir / "registry.last-good.json"

    @property
    def tls(self) -> bool:
        """Whether the port speaks TLS."""
        return self.tls_certificate is not None


def within(networks: Networks, address: str | None) -> bool:
    """Tell whether an address, as a socket or a proxy names it, is in one of the networks."""
    if not networks or not address:
        return False
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    # A socket for both families names IPv4 clients as ::ffff:10.0.0.1.
    address_within = getattr(found, "ipv4_mapped", None) or found
    return any(address_within in network for network in networks)
