# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
"""Checks a bundle: every file, every signature, every reference; all problems at once."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bundle import assemble, oci, places
from bundle.oci import Layout


def verify(folder: Path) -> list[str]:
    """All problems of a bundle; an empty list says that it is whole."""
    manifest = assemble.read_manifest(folder)
    if manifest is None:
        return [
            f"{folder / places.MANIFEST}: is not there or cannot be read, so the bundle is not complete: "
            "build it, or copy it anew"
        ]
    problems = list(_files(folder, manifest))
    problems += _checksums(folder, manifest)
    for minor in manifest["minors"]:
        problems += _repository(folder, minor)
    problems += _images(folder, manifest)
    return problems


def _files(folder: Path, manifest: dict[str, Any]) -> Iterator[str]:
    listed = manifest["files"]
    for path, wanted in listed.items():
        file = folder / path
        if not file.is_file():
            yield f"{file}: is missing"
        elif file.stat().st_size != wanted["size"]:
            yield f"{file}: has {file.stat().st_size} bytes, expected {wanted['size']}"
        elif (found := _sha256(file)) != wanted["sha256"]:
            yield f"{file}: has the checksum {found}, expected {wanted['sha256']}"
    for top in ("apt", "bin", "files", "images"):
        for file in sorted((folder / top).rglob("*")):
            if file.is_file() and str(file.relative_to(folder)) not in listed:
                yield f"{file}: is not in the manifest; remove it"


def _checksums(folder: Path, manifest: dict[str, Any]) -> list[str]:
    wanted = "".join(f"{entry['sha256']}  {path}\n" for path, entry in sorted(manifest["files"].items()))
    file = folder / places.CHECKSUMS
    if not file.is_file():
        return [f"{file}: is missing"]
    return (
        []
        if file.read_text(encoding="utf-8") == wanted
        else [f"{file}: differs from what the manifest lists"]
    )


def _repository(folder: Path, minor: str) -> Iterator[str]:
    root = folder / "apt" / f"v{minor}"
    if not shutil.which("gpg"):
        yield "gpg is not installed, so signatures cannot be checked: apt-get install gpg"
        return
    if any(
        not (root / name).is_file()
        for name in ("InRelease", "Release", "Release.gpg", "Release.key", "Packages")
    ):
        return  # told with the missing files
    with tempfile.TemporaryDirectory(prefix="ks-") as home:
        gpg = ["gpg", "--homedir", home, "--batch", "--no-tty", "--trust-model", "always"]
        imported = _quiet([*gpg, "--import", root / "Release.key"])
        if imported.returncode:
            yield f"{root / 'Release.key'}: is no key: {imported.stderr.strip()}"
            return
        for files in (("InRelease",), ("Release.gpg", "Release")):
            checked = _quiet([*gpg, "--verify", *(root / name for name in files)])
            if checked.returncode:
                said = checked.stderr.strip().splitlines()[-1]
                yield f"{root / files[0]}: the signature is not valid: {said}"
    release = (root / "Release").read_text(encoding="utf-8")
    if release.strip() not in (root / "InRelease").read_text(encoding="utf-8"):
        yield f"{root / 'InRelease'}: differs from Release"
    for name in ("Packages", "Packages.gz"):
        if f" {_sha256(root / name)} {(root / name).stat().st_size} {name}\n" not in release:
            yield f"{root / name}: is not the file that Release lists"
    for stanza in (root / "Packages").read_text(encoding="utf-8").split("\n\n"):
        entry = dict(re.findall(r"^([\w-]+): (.*)$", stanza, re.MULTILINE))
        deb = root / entry.get("Filename", "?")
        if not deb.is_file():
            yield f"{deb}: is listed in Packages and missing"
        elif str(deb.stat().st_size) != entry.get("Size") or _sha256(deb) != entry.get("SHA256"):
            yield f"{deb}: is not the file that Packages lists"


def _images(folder: Path, manifest: dict[str, Any]) -> Iterator[str]:
    layout = Layout(folder / "images")
    file = layout.folder / "index.json"
    try:
        index = {d["annotations"][oci.REFERENCE]: d for d in json.loads(file.read_bytes())["manifests"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        yield f"{file}: cannot be read: {error!r}"
        return
    for minor, entry in manifest["minors"].items():
        for wanted in entry["images"]:
            reference = wanted["annotations"][oci.REFERENCE]
            if reference not in index:
                yield f"{file}: the image {reference} of {minor} is not listed"
    for reference, descriptor in index.items():
        for digest, size in layout.pieces(descriptor, manifest["architecture"]):
            blob = layout.blob(digest)
            if not blob.is_file():
                yield f"{blob}: is missing, {reference} needs it"
            elif blob.stat().st_size != size:
                yield f"{blob}: has {blob.stat().st_size} bytes, {reference} wants {size}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _quiet(command: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)
