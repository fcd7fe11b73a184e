# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
"""An OCI image layout written without any container tool: layers, configurations, manifests, index."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from bundle.debpackage import EPOCH
from bundle.recipe import Image
from kubestead.model.atomic import UNFINISHED

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
REFERENCE = "org.opencontainers.image.ref.name"
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CREATED = "2020-01-01T00:00:00Z"


@dataclass(frozen=True)
class Entry:
    """One path of a layer: a folder, a file (from disk or from bytes) or a link."""

    mode: int = 0o755
    source: Path | None = None
    data: bytes | None = None
    link: str | None = None


@dataclass(frozen=True)
class Layer:
    """A layer's blob: compressed digest and size, digest of the tar inside."""

    digest: str
    size: int
    diff_id: str

    def as_dict(self) -> dict[str, Any]:
        """For a stamp."""
        return asdict(self)


class Layout:
    """An image layout folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.blobs = folder / "blobs" / "sha256"

    def blob(self, digest: str) -> Path:
        """Where a blob is."""
        return self.blobs / digest.removeprefix("sha256:")

    def put(self, data: bytes) -> str:
        """Store bytes as a blob and return its digest."""
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        if not self.blob(digest).exists():
            with self._new() as (file, path):
                file.write(data)
            os.replace(path, self.blob(digest))
        return digest

    def put_layer(self, entries: Mapping[str, Entry]) -> Layer:
        """Store a layer; the same entries give the same bytes."""
        with self._new() as (file, path):
            outer = _Hashing(file)
            # The name and the time stay out of the gzip header: they would make every run differ.
            with gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=outer, mtime=0) as packed:
                inner = _Hashing(packed)
                with tarfile.open(
                    fileobj=inner, mode="w|", format=tarfile.GNU_FORMAT, bufsize=1 << 20
                ) as tar:
                    for name, entry in sorted(_with_parents(entries).items()):
                        _add(tar, name, entry)
        layer = Layer(f"sha256:{outer.hash.hexdigest()}", outer.size, f"sha256:{inner.hash.hexdigest()}")
        os.replace(path, self.blob(layer.digest))
        return layer

    def put_image(self, image: Image, layers: Iterable[Layer], architecture: str) -> dict[str, Any]:
        """Store an image's configuration and manifest and return its descriptor for the index."""
        stack = list(layers)
        start: dict[str, Any] = {"Env": [PATH]}
        if image.entrypoint:
            start["Entrypoint"] = list(image.entrypoint)
        if image.command:
            start["Cmd"] = list(image.command)
        if image.user:
            start["User"] = image.user
        start["Labels"] = {
            "org.opencontainers.image.version": image.version,
            "org.opencontainers.image.description": "Built by Kubestead; its manifest says from what",
        }
        config = _json(
            {
                "created": CREATED,
                "architecture": architecture,
                "os": "linux",
                "config": start,
                "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in stack]},
                "history": [{"created": CREATED, "created_by": name} for name in image.layers],
            }
        )
        manifest = _json(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST_TYPE,
                "config": {"mediaType": CONFIG_TYPE, "digest": self.put(config), "size": len(config)},
                "layers": [{"mediaType": LAYER_TYPE, "digest": x.digest, "size": x.size} for x in stack],
            }
        )
        return {
            "mediaType": MANIFEST_TYPE,
            "digest": self.put(manifest),
            "size": len(manifest),
            "platform": {"architecture": architecture, "os": "linux"},
            # The second name is what containerd's import reads.
            "annotations": {REFERENCE: image.reference, "io.containerd.image.name": image.reference},
        }

    @contextmanager
    def receive(self, digest: str) -> Iterator[BinaryIO]:
        """A file for a blob from elsewhere; it is in its place once it was written without an error."""
        with self._new() as (file, path):
            yield file
        os.replace(path, self.blob(digest))

    def pieces(self, descriptor: Mapping[str, Any], architecture: str) -> Iterator[tuple[str, int]]:
        """Digest and size of all that an image consists of, as far as what lists it can be read.

        Of an image for several architectures only the one that the bundle is for is there.
        """
        yield descriptor["digest"], descriptor["size"]
        try:
            listed = json.loads(self.blob(descriptor["digest"]).read_bytes())
        except (OSError, ValueError):
            return
        if "manifests" in listed:
            one = child(listed, architecture)
            yield from self.pieces(one, architecture) if one else ()
            return
        for part in (listed["config"], *listed["layers"]):
            yield part["digest"], part["size"]

    @contextmanager
    def _new(self) -> Iterator[tuple[BinaryIO, Path]]:
        """A file to write a blob into, beside the others, to be renamed when it is complete."""
        self.blobs.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self.blobs, prefix=UNFINISHED)
        try:
            with open(handle, "wb") as file:
                yield file, Path(name)
                os.fchmod(file.fileno(), 0o644)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def child(listed: Mapping[str, Any], architecture: str) -> dict[str, Any] | None:
    """The image of one architecture among those of an index."""
    wanted = {"architecture": architecture, "os": "linux"}
    for descriptor in listed["manifests"]:
        if wanted.items() <= descriptor.get("platform", {}).items():
            return dict(descriptor)
    return None


def index(descriptors: Iterable[Mapping[str, Any]]) -> bytes:
    """The layout's ``index.json``."""
    ordered = sorted(descriptors, key=lambda d: d["annotations"][REFERENCE])
    return _json({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": ordered})


def layout_file() -> bytes:
    """The layout's ``oci-layout``."""
    return _json({"imageLayoutVersion": "1.0.0"})


def _json(data: Any) -> bytes:
    return json.dumps(data, indent=1, sort_keys=True).encode() + b"\n"


class _Hashing(io.RawIOBase):
    """A writer that counts and hashes what goes through it."""

    def __init__(self, target: BinaryIO | gzip.GzipFile) -> None:
        super().__init__()
        self.target = target
        self.hash = hashlib.sha256()
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.hash.update(data)
        self.size += len(data)
        self.target.write(data)
        return len(data)


def _with_parents(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    found = dict(entries)
    for path in entries:
        parts = path.split("/")
        for end in range(1, len(parts)):
            found.setdefault("/".join(parts[:end]), Entry())
    return found


def _add(tar: tarfile.TarFile, path: str, entry: Entry) -> None:
    info = tarfile.TarInfo(path)
    info.mtime, info.mode = EPOCH, entry.mode
    if entry.link is not None:
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, entry.link, 0o777
        tar.addfile(info)
    elif entry.data is not None:
        info.size = len(entry.data)
        tar.addfile(info, io.BytesIO(entry.data))
    elif entry.source is not None:
        info.size = entry.source.stat().st_size
        with entry.source.open("rb") as file:
            tar.addfile(info, file)
    else:
        info.type = tarfile.DIRTYPE
        tar.addfile(info)
