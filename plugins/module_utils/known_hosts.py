# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The file known_hosts of ssh: what it says of a host, and saying something else."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import struct
import subprocess
import typing as t

from .state_api_client import StateApiClient, StateApiRefusedError

DATUM = "ssh_host_keys"
_NOT_FOUND = 404
_TYPE = re.compile(r"(?:ssh|ecdsa|sk-ssh|sk-ecdsa)-[A-Za-z0-9@.-]+")
_KINDS = ("ed25519", "ecdsa", "rsa")  # the best first
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:_-]*(?:%[A-Za-z0-9._-]+)?")


class Key(t.NamedTuple):
    """A public host key."""

    type: str
    data: str

    @property
    def fingerprint(self) -> str:
        """As ssh shows it."""
        digest = hashlib.sha256(base64.b64decode(self.data)).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def parse_key(text: str) -> Key:
    """Read `ssh-ed25519 AAAA… comment`; raise ValueError for what is no public key."""
    words = text.split()
    if len(words) >= 2 and _TYPE.fullmatch(words[0]):
        try:
            blob = base64.b64decode(words[1], validate=True)
            (length,) = struct.unpack(">I", blob[:4])
        except (ValueError, struct.error):
            length, blob = 0, b""
        if blob[4 : 4 + length] == words[0].encode():
            return Key(words[0], words[1])
    raise ValueError(f'"{text[:60]}" is no public key of ssh, expected such as "ssh-ed25519 AAAA…"')


def entry_name(name: str, port: int = 22) -> str:
    """How a host stands in the file; raise ValueError for what is no name."""
    if not _NAME.fullmatch(name):
        raise ValueError(f'"{name}" is no host name or address')
    return name.lower() if port == 22 else f"[{name.lower()}]:{port}"


def keys_of(text: str, name: str) -> t.List[Key]:
    """The keys that the file has of a host by this very name; patterns and marked lines do not count."""
    return [line.key for line in map(_Line, text.splitlines()) if line.key and line.names_host(name)]


def with_keys(text: str, names: t.Sequence[str], keys: t.Sequence[Key]) -> str:
    """The file with these keys, and no others, for each of the names.

    Lines stay as they are where they say so already; a line that names other hosts as well keeps those. What
    is a pattern, a comment or marked (`@cert-authority`, `@revoked`) stays.
    """
    lines = text.splitlines()
    for name in names:
        if sorted(set(keys_of("\n".join(lines), name))) == sorted(set(keys)):
            continue
        kept = (_Line(line).without(name) for line in lines)
        lines = [line for line in kept if line is not None]
        lines += [f"{name} {key.type} {key.data}" for key in keys]
    return "".join(f"{line}\n" for line in lines)


def reported_keys(client: StateApiClient, mac: str) -> t.List[Key]:
    """The host keys that a machine has told the State API, with its own token; none when it has not."""
    try:
        value = client.data(mac, DATUM)["value"]
    except StateApiRefusedError as error:
        if error.status != _NOT_FOUND:
            raise
        return []
    lines = value.get("keys") if isinstance(value, dict) else value
    return [parse_key(str(line)) for line in (lines if isinstance(lines, list) else [lines])]


def scan(host: str, port: int, seconds: int, known: t.Sequence[Key] = ()) -> t.List[Key]:
    """The key that a host shows to anybody who asks; none when it does not answer.

    One key is enough, and is of a type that is `known` of it already, where there is one. Each type that is
    asked for is a connection without a login, and since OpenSSH 9.8 (PerSourcePenalties) a server shuts out
    for a while who comes and goes too often.
    """
    entry_name(host, port)  # no option, no list of hosts
    for kind in sorted(_KINDS, key=lambda kind: not any(kind in key.type for key in known)):
        words = ["ssh-keyscan", "-T", str(seconds), "-t", kind, "-p", str(port), host]
        done = subprocess.run(words, check=False, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        lines = [_Line(line) for line in done.stdout.decode(errors="replace").splitlines()]
        keys = [line.key for line in lines if line.key]
        if keys or b"SSH-2.0-" not in done.stdout + done.stderr:
            return keys
    return []


class _Line:
    """One line."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.hosts: t.List[str] = []
        self.key: t.Optional[Key] = None
        words = text.split(None, 1)
        if len(words) == 2 and not words[0].startswith(("#", "@")):
            try:
                self.key = parse_key(words[1])
            except ValueError:
                return
            self.hosts = words[0].split(",")

    def names_host(self, name: str) -> bool:
        return any(_same(host, name) for host in self.hosts)

    def without(self, name: str) -> t.Optional[str]:
        """The line when it does not name the host any more; None when nothing is left of it."""
        if not self.names_host(name):
            return self.text
        others = [host for host in self.hosts if not _same(host, name)]
        return " ".join([",".join(others), self.text.split(None, 1)[1]]) if others else None


def _same(host: str, name: str) -> bool:
    if not host.startswith("|1|"):
        return host.lower() == name
    try:
        salt, digest = (base64.b64decode(part) for part in host.split("|")[2:4])
    except ValueError:
        return False
    return hmac.compare_digest(hmac.new(salt, name.encode(), hashlib.sha1).digest(), digest)
