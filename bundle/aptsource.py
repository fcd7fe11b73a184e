# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
"""Takes packages out of a flat, signed apt repository: signature, index and packages are checked in a row."""

from __future__ import annotations

import functools
import hashlib
import re
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bundle.errors import BuildFailedError
from bundle.web import Web

FIELD = re.compile(r"^([\w-]+): (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Offered:
    """A package that a repository has."""

    name: str
    version: str
    architecture: str
    url: str
    sha256: str


def offered(web: Web, repository: str, key: str) -> list[Offered]:
    """All packages of a repository, from an index that its key has signed."""
    base = repository.rstrip("/")
    release = _signed(web.read(f"{base}/InRelease")[0], web.read(key)[0], base)
    index, _ = web.read(f"{base}/Packages")
    wanted = re.search(rf"^ ([0-9a-f]{{64}}) +{len(index)} (?:\./)?Packages$", release, re.MULTILINE)
    if not wanted or wanted[1] != hashlib.sha256(index).hexdigest():
        raise BuildFailedError(f"{base}/Packages: is not the file that InRelease lists; try again")
    found = []
    for stanza in index.decode().split("\n\n"):
        entry = dict(FIELD.findall(stanza))
        if {"Package", "Version", "Architecture", "Filename", "SHA256"} <= set(entry):
            url = f"{base}/{entry['Filename'].removeprefix('./')}"
            found.append(
                Offered(entry["Package"], entry["Version"], entry["Architecture"], url, entry["SHA256"])
            )
    return found


def choose(packages: Iterable[Offered], name: str, version: str, architecture: str) -> Offered | None:
    """The newest package of a name, and of a version (without its revision) if one is given."""
    fitting = [
        p
        for p in packages
        if p.name == name
        and p.architecture in (architecture, "all")
        and (not version or p.version == version or p.version.startswith(f"{version}-"))
    ]
    return max(fitting, key=functools.cmp_to_key(_compare), default=None)


def _compare(one: Offered, other: Offered) -> int:
    """How dpkg orders two versions."""
    for relation, answer in (("lt", -1), ("gt", 1)):
        command = ["dpkg", "--compare-versions", one.version, relation, other.version]
        if subprocess.run(command, check=False).returncode == 0:
            return answer
    return 0


def _signed(text: bytes, key: bytes, base: str) -> str:
    """What the key has signed of a clear-signed text."""
    with tempfile.TemporaryDirectory(prefix="ks-") as home:
        gpg = ["gpg", "--homedir", home, "--batch", "--no-tty", "--trust-model", "always"]
        (Path(home) / "key").write_bytes(key)
        imported = subprocess.run([*gpg, "--import", f"{home}/key"], capture_output=True, check=False)
        if imported.returncode:
            raise BuildFailedError(f"{base}: its key is no key: {imported.stderr.decode().strip()}")
        opened = subprocess.run([*gpg, "--decrypt"], input=text, capture_output=True, check=False)
    if opened.returncode:
        said = opened.stderr.decode().strip().splitlines()
        raise BuildFailedError(f"{base}/InRelease: the signature is not valid: {said[-1] if said else ''}")
    return opened.stdout.decode()
