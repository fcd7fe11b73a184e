# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
"""A flat, signed apt repository."""

from __future__ import annotations

import gzip
import hashlib
import subprocess
import tempfile
from collections.abc import Iterable
from email.utils import formatdate
from pathlib import Path

from bundle.errors import BuildFailedError
from kubestead.model.atomic import write_atomically

KEY_NAME = "Kubestead bundle <bundle@kubestead.invalid>"
INDEX_FILES = ("InRelease", "Packages", "Packages.gz", "Release", "Release.gpg", "Release.key")


class SigningKey:
    """The key that signs bundles made on this computer; it stays in the cache and never enters a bundle."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def _gpg(self, *arguments: str, data: bytes | None = None) -> bytes:
        # The agent's socket cannot have a path of more than 107 bytes, so the folder is reached by a link.
        with tempfile.TemporaryDirectory(prefix="ks-") as short:
            link = Path(short) / "g"
            link.symlink_to(self.home)
            command = ["gpg", "--homedir", str(link), "--batch", "--quiet", "--no-tty", "--yes", *arguments]
            result = subprocess.run(command, input=data, capture_output=True, check=False)
            subprocess.run(["gpgconf", "--homedir", str(link), "--kill", "gpg-agent"], check=False)
        if result.returncode:
            raise BuildFailedError(f"gpg {arguments[0]} failed: {result.stderr.decode().strip()}")
        return result.stdout

    def ensure(self) -> None:
        """Make the key if there is none."""
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.home.chmod(0o700)
        if not self._gpg("--list-secret-keys", "--with-colons"):
            self._gpg("--passphrase", "", "--quick-generate-key", KEY_NAME, "ed25519", "sign", "never")

    def public(self) -> bytes:
        """The public key, armoured."""
        return self._gpg("--armor", "--export")

    def clearsign(self, data: bytes) -> bytes:
        """The text with its signature around it."""
        return self._gpg("--digest-algo", "SHA512", "--clearsign", data=data)

    def detached(self, data: bytes) -> bytes:
        """The signature alone, armoured."""
        return self._gpg("--digest-algo", "SHA512", "--armor", "--detach-sign", data=data)


def stanza(deb: Path, path: str) -> str:
    """A package's paragraph of the index, for a file that the repository has at ``path``."""
    result = subprocess.run(["dpkg-deb", "--field", str(deb)], capture_output=True, text=True, check=False)
    if result.returncode:
        raise BuildFailedError(f"{deb}: is no Debian package: {result.stderr.strip()}")
    with deb.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return f"{result.stdout.rstrip()}\nFilename: {path}\nSize: {deb.stat().st_size}\nSHA256: {digest}\n"


def write(folder: Path, minor: str, architecture: str, stanzas: Iterable[str], key: SigningKey) -> None:
    """Write index, release file, signatures and key; nothing is touched when the content is the same."""
    packages = "\n".join(stanzas).encode()
    release_key = key.public()
    current = folder / "Packages"
    complete = all((folder / name).exists() for name in INDEX_FILES)
    if complete and current.read_bytes() == packages and (folder / "Release.key").read_bytes() == release_key:
        return
    compressed = gzip.compress(packages, mtime=0)
    files = {"Packages": packages, "Packages.gz": compressed}
    lines = [
        "Origin: Kubestead",
        f"Label: Kubernetes {minor} (Kubestead bundle)",
        f"Date: {formatdate(usegmt=True).replace('GMT', 'UTC')}",
        f"Architectures: {architecture}",
        "SHA256:",
    ]
    lines += [f" {hashlib.sha256(data).hexdigest()} {len(data)} {name}" for name, data in files.items()]
    release = ("\n".join(lines) + "\n").encode()
    files |= {
        "Release": release,
        "Release.gpg": key.detached(release),
        "Release.key": release_key,
        "InRelease": key.clearsign(release),
    }
    for name, data in files.items():
        write_atomically(folder / name, data, parents=True)
