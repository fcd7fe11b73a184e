# SPDX-License-Identifier: GPL-3.0-or-later
"""The arguments of the State API, read into its settings."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

from kubestead.installers.settings import DEFAULT_FILE
from kubestead.model.lifecycle import STATES

from .settings import (
    DEFAULT_DATABASE,
    DEFAULT_PORT,
    DEFAULT_RATE,
    DEFAULT_REGISTRY,
    Settings,
    SettingsError,
)


def parse(arguments: Sequence[str] | None, program: str) -> argparse.Namespace:
    """Read the command line; what cannot be meant ends the program with exit code 2."""
    parser = argparse.ArgumentParser(prog=program, description="Run the Kubestead State API.")
    parser.add_argument(
        "--bind", default="127.0.0.1", metavar="ADDRESS", help="address to listen on (%(default)s)"
    )
    parser.add_argument("--port", type=_port, default=DEFAULT_PORT, help="port to listen on (%(default)s)")
    parser.add_argument(
        "--database",
        type=Path,
        default=DEFAULT_DATABASE,
        metavar="FILE",
        help="the state store (%(default)s); its folder also holds what else the API keeps",
    )
    parser.add_argument(
        "--database-url-file",
        type=Path,
        metavar="FILE",
        help="a file with the URL of a PostgreSQL database, used in the place of --database",
    )
    parser.add_argument(
        "--registry",
        type=Path,
        default=DEFAULT_REGISTRY,
        metavar="FILE",
        help="the machine registry (%(default)s)",
    )
    parser.add_argument(
        "--token-file",
        type=Path,
        default=_default_token_file(),
        metavar="FILE",
        help="the file with the bearer token (the credential `token` that systemd hands over, if any)",
    )
    parser.add_argument(
        "--tls-certificate", type=Path, metavar="FILE", help="serve TLS with this certificate"
    )
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="the private key of the certificate")
    parser.add_argument(
        "--plain-reads",
        type=_network,
        action="append",
        default=[],
        metavar="CIDR",
        help="a network that may read states and data without TLS and token; may be repeated",
    )
    parser.add_argument(
        "--trusted-proxy",
        type=_network,
        action="append",
        default=[],
        metavar="CIDR",
        help="a network of proxies whose X-Forwarded-For names the client; may be repeated",
    )
    parser.add_argument(
        "--boot-port", type=_port, default=0, metavar="N", help="serve boot files by plain HTTP on this port"
    )
    parser.add_argument("--boot-dir", type=Path, metavar="DIR", help="the folder with the boot files")
    parser.add_argument(
        "--boot-settings",
        type=Path,
        default=DEFAULT_FILE,
        metavar="FILE",
        help="what all installations share (%(default)s); while it is missing, none begins",
    )
    parser.add_argument(
        "--rate",
        type=_rate,
        default=DEFAULT_RATE,
        metavar="N",
        help="requests a second that one address may send (%(default)s); twice as many in a burst",
    )
    parser.add_argument(
        "--deadline",
        type=_deadline,
        action="append",
        default=[],
        metavar="STATE=SECONDS",
        help="how long a machine may stay in a state without a report, 0: for ever; may be repeated",
    )
    parser.add_argument(
        "--accept-features",
        action="store_true",
        help="write the features that a machine's hardware proposes into the registry",
    )
    parser.add_argument("--log-level", default="INFO", choices=["DEBUG", "INFO", "WARN", "ERROR"])
    parser.add_argument("--check", action="store_true", help="open everything that is needed, then end")
    options = parser.parse_args(arguments)
    if options.token_file is None:
        parser.error("--token-file is needed: the file with the bearer token")
    if (options.tls_certificate is None) != (options.tls_key is None):
        parser.error("--tls-certificate and --tls-key go together: give both, or none for plain HTTP")
    if options.boot_port and options.boot_dir is None:
        parser.error("--boot-port needs --boot-dir: the folder with the boot files")
    if options.boot_port and options.boot_port == options.port:
        parser.error(f"--boot-port and --port are both {options.port}: choose two")
    return options


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text} is no port, expected 0 (any free one) to 65535")
    return int(text)


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text} is no network ({error}), expected one such as 10.0.0.0/24"
        ) from error


def _rate(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text} is no rate, expected a whole number from 1")
    return int(text)


def _deadline(text: str) -> tuple[str, int]:
    state, _, seconds = text.partition("=")
    if state not in STATES or not seconds.isascii() or not seconds.isdigit():
        raise argparse.ArgumentTypeError(
            f"{text} is no deadline, expected STATE=SECONDS such as installing=3600, "
            f"where the state is one of {', '.join(STATES)}"
        )
    return state, int(seconds)


def settings_of(options: argparse.Namespace) -> Settings:
    """The settings that the arguments make; SettingsError when a file that they name cannot be used."""
    return Settings(
        token_file=options.token_file,
        database=options.database,
        registry=options.registry,
        remote_database=_database_url(options.database_url_file) if options.database_url_file else None,
        rate=options.rate,
        plain_reads=tuple(options.plain_reads),
        trusted_proxies=tuple(options.trusted_proxy),
        deadlines=dict(options.deadline),
        accept_features=options.accept_features,
        tls_certificate=options.tls_certificate,
        tls_key=options.tls_key,
        boot_port=options.boot_port,
        boot_dir=options.boot_dir,
        boot_settings=options.boot_settings,
    )


def _database_url(path: Path) -> str:
    try:
        url = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"the file with the database's URL, {path}, cannot be read: {error}") from error
    if not url.startswith(("postgresql://", "sqlite:///")) or len(url.split()) != 1:
        # The text may hold a password and is not repeated.
        raise SettingsError(
            f"the file {path} holds no database URL: expected one line such as "
            "postgresql://USER:PASSWORD@HOST/DATABASE"
        )
    return url


def _default_token_file() -> Path | None:
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    return Path(credentials, "token") if credentials else None
