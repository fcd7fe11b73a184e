# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
"""Puts finished parts in place: packages, index of the images, checksums and, last of all, the manifest."""

from __future__ import annotations

import datetime
import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bundle import aptrepo, gotool, oci, places, stamp
from bundle.aptrepo import SigningKey
from bundle.catalogue import Versions
from bundle.oci import Layout
from bundle.recipe import Image
from bundle.stamp import Stamp
from kubestead.model.atomic import UNFINISHED, write_atomically

FORMAT = 1


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a complete bundle, else ``None``."""
    try:
        data = json.loads((folder / places.MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) and data.get("format") == FORMAT else None


def is_complete(folder: Path, minor: str) -> bool:
    """Whether a bundle holds a minor, by its manifest."""
    manifest = read_manifest(folder)
    return manifest is not None and minor in manifest["minors"]


@dataclass(frozen=True)
class Content:
    """What a bundle has of one minor."""

    minor: str
    versions: Versions
    images: list[Image]
    stamps: list[Stamp]
    copied: list[dict[str, Any]] = field(default_factory=list)
    """Descriptors of images that are in the layout already."""
    architecture: str = field(default_factory=gotool.architecture)


def finish(folder: Path, content: Content, key: SigningKey) -> None:
    """Make a bundle complete. While this runs, for about a second, the bundle has no manifest."""
    minor, stamps = content.minor, content.stamps
    layout = Layout(folder / "images")
    architecture = content.architecture
    layers = {f"{s.name}/{name}": layer for s in stamps for name, layer in s.layers.items()}
    images = [
        layout.put_image(image, [layers[name] for name in image.layers], architecture)
        for image in content.images
    ]
    images += content.copied
    before = read_manifest(folder) or {"minors": {}}
    minors = before["minors"] | {
        minor: {
            "kubernetes": content.versions.kubernetes,
            "versions": asdict(content.versions),
            "parts": [s.as_dict() for s in stamps],
            "images": images,
        }
    }
    key.ensure()
    (folder / places.MANIFEST).unlink(missing_ok=True)
    _place(folder, minor, stamps)
    for each, entry in minors.items():
        _index_packages(folder, each, architecture, entry["parts"], key)
    # An image that two minors share is taken from the one that was built last.
    index = {d["annotations"][oci.REFERENCE]: d for entry in minors.values() for d in entry["images"]}
    index |= {d["annotations"][oci.REFERENCE]: d for d in images}
    write_atomically(layout.folder / "oci-layout", oci.layout_file(), parents=True)
    write_atomically(layout.folder / "index.json", oci.index(index.values()), parents=True)
    _newest_kubectl(folder, minors)
    _sweep(folder, layout, minors, index.values(), architecture)
    # Minors may share a file, which is then the one that was placed last.
    files = sorted({f.path: f for f in _files(folder, minors, minor)}.values(), key=lambda f: f.path)
    sums = "".join(f"{f.sha256}  {f.path}\n" for f in files)
    write_atomically(folder / places.CHECKSUMS, sums.encode(), parents=True)
    manifest = {
        "format": FORMAT,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "architecture": architecture,
        "minors": dict(sorted(minors.items())),
        "files": {f.path: {"sha256": f.sha256, "size": f.size} for f in files},
    }
    write_atomically(folder / places.MANIFEST, json.dumps(manifest, indent=1).encode() + b"\n", parents=True)


def _place(folder: Path, minor: str, stamps: list[Stamp]) -> None:
    for made in stamps:
        staged = folder / places.BUILDING / minor / made.name / "outputs"
        for output in made.outputs:
            if (staged / output.path).exists():
                (folder / output.path).parent.mkdir(parents=True, exist_ok=True)
                os.replace(staged / output.path, folder / output.path)


def _index_packages(
    folder: Path, minor: str, architecture: str, parts: list[dict[str, Any]], key: SigningKey
) -> None:
    root = f"apt/v{minor}/"
    packages = sorted(o["path"] for part in parts for o in part["outputs"] if o["path"].startswith(root))
    stanzas = [aptrepo.stanza(folder / path, path.removeprefix(root)) for path in packages]
    aptrepo.write(folder / root, minor, architecture, stanzas, key)


def _newest_kubectl(folder: Path, minors: dict[str, Any]) -> None:
    newest = max(minors, key=lambda m: [int(n) for n in m.split(".")])
    source, target = folder / f"bin/v{newest}/kubectl", folder / "bin/kubectl"
    if target.exists() and target.samefile(source):
        return
    temporary = target.with_name(f"{UNFINISHED}kubectl")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:  # a file system without hard links
        shutil.copy2(source, temporary)
    os.replace(temporary, target)


def _sweep(
    folder: Path,
    layout: Layout,
    minors: dict[str, Any],
    descriptors: Iterable[dict[str, Any]],
    architecture: str,
) -> None:
    """Remove what no part and no image refers to any more."""
    wanted = {
        layer["digest"] for e in minors.values() for part in e["parts"] for layer in part["layers"].values()
    }
    for descriptor in descriptors:
        wanted |= {digest for digest, _ in layout.pieces(descriptor, architecture)}
    for top in ("apt", "bin", "files", "images"):
        for left in (folder / top).rglob(f"{UNFINISHED}*"):  # by a build that was killed
            left.unlink()
    keep = {digest.removeprefix("sha256:") for digest in wanted}
    for blob in layout.blobs.iterdir():
        if blob.name not in keep:
            blob.unlink()
    packages = {o["path"] for e in minors.values() for part in e["parts"] for o in part["outputs"]}
    for file in (*folder.glob("apt/*/*/*.deb"), *(f for f in folder.glob("files/**/*") if f.is_file())):
        if str(file.relative_to(folder)) not in packages:
            file.unlink()


def _files(folder: Path, minors: dict[str, Any], last: str) -> Iterable[stamp.Output]:
    for minor, entry in sorted(minors.items(), key=lambda item: item[0] == last):
        yield from (stamp.Output(**o) for part in entry["parts"] for o in part["outputs"])
        yield from (stamp.output(folder, f"apt/v{minor}/{name}") for name in aptrepo.INDEX_FILES)
    yield stamp.output(folder, "bin/kubectl")
    yield from (stamp.output(folder, f"images/{name}") for name in ("index.json", "oci-layout"))
    for blob in (folder / "images/blobs/sha256").iterdir():
        yield stamp.Output(f"images/blobs/sha256/{blob.name}", blob.name, blob.stat().st_size)
