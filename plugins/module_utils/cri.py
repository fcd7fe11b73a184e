# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The container runtime interface: who answers at a socket, and is it ready to run pods."""

from __future__ import annotations

from typing import NamedTuple

from .grpc_unary import call, fields

SERVICE = "/runtime.v1.RuntimeService"


class Runtime(NamedTuple):
    """What a container runtime says of itself."""

    name: str
    version: str
    api_version: str
    conditions: dict[str, bool]
    reasons: dict[str, str]

    @property
    def ready(self) -> bool:
        """Whether it can run containers. The pod network comes later and does not count."""
        return self.conditions.get("RuntimeReady", False)


def _text(value: int | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def parse_version(raw: bytes) -> tuple[str, str, str]:
    """Name, version and API version from a VersionResponse."""
    got = {number: _text(value) for number, value in fields(raw)}
    return got.get(2, ""), got.get(3, ""), got.get(4, "")


def parse_status(raw: bytes) -> tuple[dict[str, bool], dict[str, str]]:
    """The conditions of a StatusResponse, and the words for those that do not hold."""
    conditions: dict[str, bool] = {}
    reasons: dict[str, str] = {}
    for number, status in fields(raw):
        if number != 1 or not isinstance(status, bytes):
            continue
        for inner, condition in fields(status):
            if inner != 1 or not isinstance(condition, bytes):
                continue
            got = dict(fields(condition))
            kind = _text(got.get(1, b""))
            conditions[kind] = bool(got.get(2, 0))
            if not conditions[kind]:
                reasons[kind] = _text(got.get(4, b"")) or _text(got.get(3, b""))
    return conditions, reasons


def ask(socket_path: str, timeout: float = 5.0) -> Runtime:
    """Ask it for its version and its state. :raises OSError, GrpcError: as :func:`grpc_unary.call`."""
    name, version, api_version = parse_version(call(socket_path, f"{SERVICE}/Version", timeout=timeout))
    conditions, reasons = parse_status(call(socket_path, f"{SERVICE}/Status", timeout=timeout))
    return Runtime(name, version, api_version, conditions, reasons)
