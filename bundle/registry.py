# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
"""Copies images from registries into an OCI layout: one architecture of each, all checked by digests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bundle import oci
from bundle.errors import BuildFailedError, UnreachableError, WrongInputError
from bundle.oci import Layout
from bundle.web import NotFoundError, Web

INDEXES = (oci.INDEX_TYPE, "application/vnd.docker.distribution.manifest.list.v2+json")
MANIFESTS = (oci.MANIFEST_TYPE, "application/vnd.docker.distribution.manifest.v2+json")
# The name in image references, and where the registry answers.
HOSTS = {"docker.io": "registry-1.docker.io"}


@dataclass(frozen=True)
class Reference:
    """An image's full name, taken apart."""

    registry: str
    name: str
    tag: str

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read ``registry/name:tag``; a short form is refused: machines would look elsewhere for it."""
        registry, _, rest = text.partition("/")
        name, _, tag = rest.rpartition(":")
        if ("." not in registry and ":" not in registry) or not name or not tag or "@" in text:
            raise WrongInputError(f"{text!r} is no full image name: expected registry/name:tag")
        return cls(registry, name, tag)


@dataclass(frozen=True)
class Mirrors:
    """Where images are asked for: one registry for all, then those for a single registry, then itself."""

    everything: str = ""
    single: Mapping[str, Sequence[str]] | None = None

    def addresses(self, registry: str) -> list[tuple[str, str]]:
        """Base URLs and what is added to a query, the preferred one first."""
        found = [(self.everything, f"?ns={registry}")] if self.everything else []
        found += [(mirror, "") for mirror in (self.single or {}).get(registry, ())]
        return [*found, (f"https://{HOSTS.get(registry, registry)}", "")]


class Copier:
    """Copies images into one layout."""

    def __init__(self, web: Web, layout: Layout, architecture: str, mirrors: Mirrors) -> None:
        self.web, self.layout, self.architecture, self.mirrors = web, layout, architecture, mirrors

    def copy(self, text: str) -> dict[str, Any]:
        """Copy what is missing of an image; returns its descriptor for the layout's index."""
        reference = Reference.parse(text)
        problems: list[str] = []
        for base, query in self.mirrors.addresses(reference.registry):
            try:
                return self._copy(reference, text, base.rstrip("/"), query)
            except (NotFoundError, UnreachableError) as error:
                problems += error.problems
        raise UnreachableError(f"{text}: cannot be had: {'; '.join(problems)}")

    def _copy(self, reference: Reference, text: str, base: str, query: str) -> dict[str, Any]:
        root = f"{base}/v2/{reference.name}"
        data, kind = self._manifest(root, reference.tag, query)
        top = {"mediaType": kind, "digest": self.layout.put(data), "size": len(data)}
        image = data
        if kind in INDEXES:
            child = oci.child(json.loads(data), self.architecture)
            if child is None:
                raise BuildFailedError(f"{text}: there is none for linux/{self.architecture}")
            image = self._child(root, child, query)
        manifest = json.loads(image)
        for blob in (manifest["config"], *manifest["layers"]):
            self._blob(root, blob, query)
        platform = {"architecture": self.architecture, "os": "linux"}
        names = {oci.REFERENCE: text, "io.containerd.image.name": text}
        return {**top, "platform": platform, "annotations": names}

    def _manifest(self, root: str, reference: str, query: str) -> tuple[bytes, str]:
        accept = {"Accept": ", ".join((*INDEXES, *MANIFESTS))}
        url = f"{root}/manifests/{reference}{query}"
        data, headers = self.web.read(url, 4 << 20, area=root, headers=accept)
        kind = json.loads(data).get("mediaType") or headers.get("Content-Type", "").partition(";")[0]
        if kind not in (*INDEXES, *MANIFESTS):
            raise BuildFailedError(f"{url}: is of the type {kind!r}, which is no image that is known here")
        return data, kind

    def _child(self, root: str, child: Mapping[str, Any], query: str) -> bytes:
        blob = self.layout.blob(child["digest"])
        if blob.is_file():
            return blob.read_bytes()
        data, _ = self._manifest(root, child["digest"], query)
        if (found := f"sha256:{hashlib.sha256(data).hexdigest()}") != child["digest"]:
            raise BuildFailedError(f"{root}/manifests/{child['digest']}: has the digest {found}")
        self.layout.put(data)
        return data

    def _blob(self, root: str, blob: Mapping[str, Any], query: str) -> None:
        digest = str(blob["digest"])
        target = self.layout.blob(digest)
        if target.is_file() and target.stat().st_size == blob["size"]:
            return
        with self.layout.receive(digest) as file:
            self.web.save(f"{root}/blobs/{digest}{query}", file, digest.removeprefix("sha256:"), area=root)
