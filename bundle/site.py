# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
"""What a bundle answers to a request: files of the apt repository, images as a registry has them, status."""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from bundle import oci, places, status
from bundle.assemble import read_manifest
from bundle.oci import Layout

STATIC = re.compile(
    r"^(apt/v\d+\.\d+/[\w.+~:/-]+|bin/[\w./-]+|files/[\w.+~:/@-]+|manifest\.json|SHA256SUMS)$"
)
NAME = r"(?P<name>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)"
DIGEST = r"sha256:[0-9a-f]{64}"
MANIFESTS = re.compile(rf"^v2/{NAME}/manifests/(?P<reference>[\w][\w.-]{{0,127}}|{DIGEST})$")
BLOBS = re.compile(rf"^v2/{NAME}/blobs/(?P<digest>{DIGEST})$")
TAGS = re.compile(rf"^v2/{NAME}/tags/list$")
JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
BYTES = "application/octet-stream"
TYPES = {".json": JSON, ".deb": "application/vnd.debian.binary-package", ".gz": "application/gzip"}
RETRY_SECONDS = 15


@dataclass
class Answer:
    """A response: bytes in memory or a file on disk."""

    status: HTTPStatus
    data: bytes = b""
    file: Path | None = None
    kind: str = TEXT
    headers: dict[str, str] = field(default_factory=dict)


def text(code: HTTPStatus, message: str, **headers: str) -> Answer:
    """A short answer for a person."""
    return Answer(code, f"{message}\n".encode(), headers=headers)


class Site:
    """A bundle folder seen as a web site; it may become complete, or be replaced, while it is served."""

    def __init__(self, folder: Path, status_file: Path | None = None) -> None:
        self.folder = folder
        self.status_file = status_file
        self.layout = Layout(self.folder / "images")
        self._lock = threading.Lock()
        self._index: tuple[tuple[int, int], dict[str, dict[str, Any]]] | None = None

    def answer(self, target: str) -> Answer:
        """Answer a GET or HEAD for a request target (path and query)."""
        parts = urlsplit(target)
        path = unquote(parts.path).lstrip("/")
        current = status.current(self.folder, self.status_file)
        if path == "status":
            said = {
                **current.as_dict(),
                "minors": sorted((read_manifest(self.folder) or {}).get("minors", {})),
            }
            return Answer(HTTPStatus.OK, json.dumps(said).encode() + b"\n", kind=JSON)
        if not (self.folder / places.MANIFEST).is_file():
            return _not_ready(current)
        found = self._find(path, parse_qs(parts.query).get("ns", [""])[0])
        if found.status == HTTPStatus.NOT_FOUND and current.state == status.BUILDING:
            # A further minor is being built into a bundle that is complete without it.
            return text(
                HTTPStatus.SERVICE_UNAVAILABLE, current.progress, **{"Retry-After": str(RETRY_SECONDS)}
            )
        return found

    def _find(self, path: str, namespace: str) -> Answer:
        if path in ("v2", "v2/"):
            return Answer(HTTPStatus.OK, b"{}\n", kind=JSON, headers=_registry())
        if match := MANIFESTS.match(path):
            return self._manifest(match["name"], match["reference"], namespace)
        if match := BLOBS.match(path):
            return self._blob(match["digest"])
        if match := TAGS.match(path):
            return self._tags(match["name"], namespace)
        if path == "":
            return text(
                HTTPStatus.OK, "Kubestead bundle: /status, /manifest.json, /apt/v<minor>/, /v2/, /bin/kubectl"
            )
        return self._static(path)

    def _static(self, path: str) -> Answer:
        if STATIC.match(path) and ".." not in path.split("/"):
            file = (self.folder / path).resolve()
            if file.is_relative_to(self.folder.resolve()) and file.is_file():
                return Answer(HTTPStatus.OK, file=file, kind=TYPES.get(file.suffix, BYTES))
        return text(
            HTTPStatus.NOT_FOUND, f"/{path}: this bundle has no such file; /manifest.json says what it has"
        )

    def _images(self) -> dict[str, dict[str, Any]]:
        """The descriptors of all images by full reference, read again when the index has changed."""
        file = self.layout.folder / "index.json"
        with self._lock:
            about = file.stat()
            version = (about.st_mtime_ns, about.st_ino)
            if self._index is None or self._index[0] != version:
                data = json.loads(file.read_bytes())
                self._index = (version, {d["annotations"][oci.REFERENCE]: d for d in data["manifests"]})
            return self._index[1]

    def _repositories(self, name: str, namespace: str) -> list[str]:
        """The repositories (registry and name) that a request may mean, best first.

        containerd tells the registry as ``ns``; a client that does not may put it into the name, or leave it
        out, which is enough when one registry only has an image of that name.
        """
        known = list(dict.fromkeys(reference.rpartition(":")[0] for reference in self._images()))
        if namespace:
            exact = [r for r in known if r == f"{namespace}/{name}"]
            if exact:
                return exact
        if name in known:
            return [name]
        return [r for r in known if r.partition("/")[2] == name]

    def _manifest(self, name: str, reference: str, namespace: str) -> Answer:
        images = self._images()
        repositories = self._repositories(name, namespace)
        found = [
            descriptor
            for full, descriptor in images.items()
            if full.rpartition(":")[0] in repositories
            and reference in (full.rpartition(":")[2], descriptor["digest"])
        ]
        if len({d["digest"] for d in found}) == 1:
            digest = found[0]["digest"]
            headers = _registry() | {"Docker-Content-Digest": digest, "ETag": f'"{digest}"'}
            return Answer(
                HTTPStatus.OK, file=self.layout.blob(digest), kind=found[0]["mediaType"], headers=headers
            )
        wanted = f"{namespace or '(any registry)'}/{name}:{reference}"
        if found:
            return _error(
                "NAME_UNKNOWN", f"{wanted} could be any of {', '.join(repositories)}: ask with ?ns=REGISTRY"
            )
        return _error(
            "MANIFEST_UNKNOWN", f"{wanted} is not in this bundle, which has {', '.join(sorted(images))}"
        )

    def _blob(self, digest: str) -> Answer:
        file = self.layout.blob(digest)
        if not file.is_file():
            return _error("BLOB_UNKNOWN", f"{digest} is not in this bundle")
        headers = _registry() | {"Docker-Content-Digest": digest, "ETag": f'"{digest}"'}
        return Answer(HTTPStatus.OK, file=file, kind=BYTES, headers=headers)

    def _tags(self, name: str, namespace: str) -> Answer:
        repositories = self._repositories(name, namespace)
        tags = [full.rpartition(":")[2] for full in self._images() if full.rpartition(":")[0] in repositories]
        if not tags:
            return _error("NAME_UNKNOWN", f"{name} is not in this bundle")
        body = json.dumps({"name": name, "tags": sorted(set(tags))}).encode()
        return Answer(HTTPStatus.OK, body, kind=JSON, headers=_registry())


def _registry() -> dict[str, str]:
    return {"Docker-Distribution-API-Version": "registry/2.0"}


def _error(code: str, message: str) -> Answer:
    body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
    return Answer(HTTPStatus.NOT_FOUND, body, kind=JSON, headers=_registry())


def _not_ready(current: status.Status) -> Answer:
    if current.state == status.BUILDING:
        message = f"The bundle is being built: {current.progress or current.detail}"
        return text(HTTPStatus.SERVICE_UNAVAILABLE, message, **{"Retry-After": str(RETRY_SECONDS)})
    if current.state == status.FAILED:
        return text(HTTPStatus.INTERNAL_SERVER_ERROR, f"The bundle could not be built: {current.detail}")
    return text(HTTPStatus.NOT_FOUND, current.detail or "There is no bundle here yet.")
