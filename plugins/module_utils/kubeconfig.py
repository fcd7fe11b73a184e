# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ask an API server with the credentials of a kubeconfig that kubeadm or a kubelet wrote.

Only what those files hold is read (one cluster, one user, client certificates), so that no YAML or Kubernetes
library is needed on a node. Keys never touch the disk: ssl gets them through an anonymous file in memory.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import socket
import ssl
import typing as t
from dataclasses import dataclass
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

_FIELD = re.compile(
    r"^\s*(?:- )?(server|certificate-authority(?:-data)?|client-certificate(?:-data)?|client-key(?:-data)?):"
    r"\s*[\"']?([^\s\"']+)",
    re.MULTILINE,
)


class KubeconfigError(ValueError):
    """The file is no kubeconfig that can be used."""


@dataclass(frozen=True)
class Kubeconfig:
    """Server and credentials, as PEM."""

    server: str
    authority: bytes
    certificate: bytes
    key: bytes


@dataclass(frozen=True)
class Answer:
    """An answer of the API server; `status` is 0 when there was none, `body` then says why."""

    status: int
    body: str

    @property
    def ok(self) -> bool:
        """Whether the server did what was asked."""
        return 200 <= self.status < 300

    def json(self) -> t.Any:
        """Return the body as data; None when it is no JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


def parse_kubeconfig(text: str, folder: Path) -> Kubeconfig:
    """Read a kubeconfig; files that it names are looked up from `folder`."""
    fields = dict(_FIELD.findall(text))
    if "server" not in fields:
        raise KubeconfigError("it names no server")

    def material(name: str) -> bytes:
        try:
            if name + "-data" in fields:
                return base64.b64decode(fields[name + "-data"], validate=True)
            return (folder / fields[name]).read_bytes() if name in fields else b""
        except (OSError, binascii.Error) as error:
            raise KubeconfigError(f"its {name} cannot be read: {error}") from error

    return Kubeconfig(
        server=fields["server"].rstrip("/"),
        authority=material("certificate-authority"),
        certificate=material("client-certificate"),
        key=material("client-key"),
    )


def load_kubeconfig(path: Path) -> Kubeconfig:
    """Read the kubeconfig at `path`."""
    try:
        return parse_kubeconfig(path.read_text(encoding="utf-8"), path.parent)
    except (OSError, UnicodeDecodeError) as error:
        raise KubeconfigError(str(error)) from error


def _context(authority: bytes, certificate: bytes, key: bytes, check_name: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = check_name
    context.load_verify_locations(cadata=authority.decode("ascii"))
    if certificate:
        handle = os.memfd_create("kubestead-client", os.MFD_CLOEXEC)
        try:
            os.write(handle, certificate + b"\n" + key)
            context.load_cert_chain(f"/proc/self/fd/{handle}")
        finally:
            os.close(handle)
    return context


class Client:
    """Requests to one API server over one connection, straight: proxies of the environment are not used."""

    def __init__(self, config: Kubeconfig, timeout: float = 5.0, check_name: bool = True) -> None:
        """Use the server and the credentials of `config`."""
        address = urlsplit(config.server)
        if address.scheme != "https" or not address.hostname:
            raise KubeconfigError(f"its server is {config.server}, expected https://HOST:PORT")
        try:
            context = _context(config.authority, config.certificate, config.key, check_name)
        except (ssl.SSLError, ValueError, OSError) as error:
            raise KubeconfigError(f"its certificates cannot be used: {error}") from error
        self._connection = HTTPSConnection(
            address.hostname, address.port or 443, timeout=timeout, context=context
        )

    def request(
        self, path: str, method: str = "GET", body: t.Any = None, content_type: str = "application/json"
    ) -> Answer:
        """Send one request; connection errors come back as an answer of status 0.

        The server may have ended the connection since the last request, or have gone away and come back: then
        it is asked once more over a new one. What may not be sent twice (POST) gets a new one at once.
        """
        if method == "POST":
            self._connection.close()
        attempts = 2 if self._connection.sock else 1
        answer = Answer(0, "")
        for _attempt in range(attempts):
            try:
                return self._send(path, method, body, content_type)
            except (OSError, HTTPException) as error:
                answer = Answer(0, str(error) or type(error).__name__)
                if isinstance(error, socket.timeout):
                    break
        return answer

    def _send(self, path: str, method: str, body: t.Any, content_type: str) -> Answer:
        try:
            self._connection.request(
                method,
                path,
                body=None if body is None else json.dumps(body),
                headers={"Accept": "application/json", "Content-Type": content_type},
            )
            reply = self._connection.getresponse()
            return Answer(reply.status, reply.read().decode("utf-8", "replace"))
        except (OSError, HTTPException):
            self._connection.close()
            raise
