# SPDX-License-Identifier: GPL-3.0-or-later
"""Layers and images: right, and the same every time."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from bundle import catalogue, debian, oci, recipe
from bundle.oci import Entry, Layout
from bundle.recipe import Furniture, Image, TextFile
from tests.unit.bundle_sample import needs_tools


def members(layout: Layout, digest: str) -> dict[str, tarfile.TarInfo]:
    """What is in a layer."""
    with tarfile.open(layout.blob(digest)) as tar:
        return {member.name: member for member in tar.getmembers()}


def test_layer_is_what_was_asked_for(tmp_path: Path) -> None:
    """Folders come before what is in them; owner and time are always the same; links and modes are kept."""
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    layout = Layout(tmp_path / "images")
    layer = layout.put_layer(
        {
            "usr/bin/program": Entry(source=program),
            "bin": Entry(link="usr/bin"),
            "tmp": Entry(mode=0o1777),
            "etc/passwd": Entry(mode=0o644, data=b"root\n"),
        }
    )
    found = members(layout, layer.digest)
    assert list(found) == sorted(found)
    assert {"usr", "usr/bin", "etc"} <= set(found)
    assert found["usr/bin/program"].mode == 0o755
    assert found["tmp"].mode == 0o1777
    assert found["bin"].linkname == "usr/bin"
    assert {(m.uid, m.gid, m.mtime) for m in found.values()} == {(0, 0, 1577836800)}
    raw = layout.blob(layer.digest).read_bytes()
    assert layer.digest == f"sha256:{hashlib.sha256(raw).hexdigest()}"
    assert layer.diff_id == f"sha256:{hashlib.sha256(gzip.decompress(raw)).hexdigest()}"
    assert layer.size == len(raw)


def test_same_entries_give_the_same_layer(tmp_path: Path) -> None:
    """Neither the folder nor the time nor the order matters."""
    digests = set()
    for name in ("one", "two"):
        program = tmp_path / name / "program"
        program.parent.mkdir()
        program.write_text("same", encoding="utf-8")
        entries = {"a": Entry(source=program), "b/c": Entry(data=b"1")}
        if name == "two":
            entries = dict(reversed(entries.items()))
        digests.add(Layout(tmp_path / name / "images").put_layer(entries).digest)
    assert len(digests) == 1


def test_image_names_its_layers_and_how_it_starts(tmp_path: Path) -> None:
    """Configuration, manifest and index fit together."""
    layout = Layout(tmp_path)
    layer = layout.put_layer({"pause": Entry(data=b"x")})
    image = Image("registry.example/pause:1", ("pause/pause",), ("/pause",), user="65535:65535", version="1")
    descriptor = layout.put_image(image, [layer], "amd64")
    manifest = json.loads(layout.blob(descriptor["digest"]).read_bytes())
    config = json.loads(layout.blob(manifest["config"]["digest"]).read_bytes())
    assert config["config"]["Entrypoint"] == ["/pause"]
    assert config["config"]["User"] == "65535:65535"
    assert config["rootfs"]["diff_ids"] == [layer.diff_id]
    assert [entry["digest"] for entry in manifest["layers"]] == [layer.digest]
    index = json.loads(oci.index([descriptor]))
    assert index["manifests"][0]["annotations"][oci.REFERENCE] == "registry.example/pause:1"
    assert not list(layout.blobs.glob(".new-*"))


def test_a_file_longer_than_a_block_survives(tmp_path: Path) -> None:
    """Long names and large content pass through the streaming writers whole."""
    data = bytes(range(256)) * 10_000
    name = "/".join(["folder" * 10] * 4) + "/file"
    layout = Layout(tmp_path)
    layer = layout.put_layer({name: Entry(data=data)})
    with tarfile.open(fileobj=io.BytesIO(layout.blob(layer.digest).read_bytes())) as tar:
        file = tar.extractfile(name)
        assert file is not None
        assert file.read() == data


def test_every_image_finds_its_layers_and_every_layer_its_image() -> None:
    """The recipe has no layer that no image wants, and no image that wants one that is not made."""
    known = catalogue.load()
    versions = known.versions(known.default_minor)
    parts = [*recipe.parts(versions), *recipe.addons(known, versions)]
    made = {f"{p.name}/{layer}" for p in parts for layer in (*p.layers, *p.furniture)}
    made |= {f"debian/{name}" for name in ("base", "tools", "shell")}
    wanted = {layer for image in recipe.images(known, versions, parts) for layer in image.layers}
    assert made == wanted


@needs_tools
def test_furniture_is_what_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packages lie where a merged system has them, above busybox's tools; then texts, links, folders."""
    tree = tmp_path / "tree"
    for path, text in (
        ("bin/busybox", "#!/bin/sh\necho bin/sh\necho bin/nc\necho usr/bin/find\n"),
        ("bin/nc.openbsd", "nc"),
        ("usr/bin/find", "a better one"),
        ("usr/share/doc/find", "left out"),
        (
            "DEBIAN/control",
            "Package: busybox\nVersion: 1\nArchitecture: all\nMaintainer: x\nDescription: x\n",
        ),
    ):
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text, encoding="utf-8")
        (tree / path).chmod(0o755)
    deb = tmp_path / "busybox.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", tree, deb], check=True, capture_output=True)
    monkeypatch.setattr(debian, "fetch", lambda *_, **__: [deb])
    layout = Layout(tmp_path / "images")
    layer, (taken,) = debian.furnish(
        layout,
        Furniture(("busybox",), (TextFile("data.json", "{}"),), {"usr/bin/nc": "nc.openbsd"}, ("uploads",)),
        tmp_path / "work",
    )
    found = members(layout, layer.digest)
    assert (taken.package, taken.version) == ("busybox", "1")
    assert found["usr/bin/nc"].linkname == "nc.openbsd"
    assert found["usr/bin/sh"].linkname == "busybox"
    assert found["usr/bin/find"].isreg()
    assert found["bin"].linkname == "usr/bin"
    assert found["uploads"].isdir()
    assert found["data.json"].size == 2
    assert "usr/share/doc/find" not in found


def test_images_have_the_names_that_kubeadm_asks_for() -> None:
    """The names are those of the public registries, versions included."""
    known = catalogue.load()
    versions = known.versions("1.36")
    names = {image.reference for image in recipe.images(known, versions)}
    assert f"registry.k8s.io/kube-proxy:v{versions.kubernetes}" in names
    assert f"registry.k8s.io/coredns/coredns:v{versions.coredns}" in names
    assert f"registry.k8s.io/etcd:{versions.etcd_image_tag}" in names
    assert f"ghcr.io/flannel-io/flannel-cni-plugin:v{versions.flannel_cni_plugin}" in names
