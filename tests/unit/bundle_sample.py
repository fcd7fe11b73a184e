# SPDX-License-Identifier: GPL-3.0-or-later
"""A small real bundle for tests: a signed repository and images, with shell scripts for programs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bundle import archives, assemble, catalogue, debpackage, gotool, recipe, stamp
from bundle.aptrepo import SigningKey
from bundle.oci import Entry, Layout
from bundle.recipe import Part

MINOR = "1.36"
ARCHITECTURE = gotool.architecture()

needs_tools = pytest.mark.skipif(
    not all(map(shutil.which, ("dpkg-deb", "gpg", "gpgv"))), reason="dpkg-deb, gpg or gpgv is not installed"
)


def scripts(folder: Path, names: list[str], text: str = "") -> Path:
    """Programs that say their name."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text(f"#!/bin/sh\necho {name} {text}\n", encoding="utf-8")
        (folder / name).chmod(0o755)
    return folder


def program_names(part: Part) -> list[str]:
    """The names under which a part's programs come out of the compiler."""
    names = {name for package in part.packages for name in package.programs}
    names |= {name for layer in part.layers.values() for name in layer}
    return sorted(names | set(part.files) | set(part.archives))


def all_parts(minor: str = MINOR) -> list[Part]:
    """The parts of a minor with every add-on."""
    known = catalogue.load()
    versions = known.versions(minor)
    return [*recipe.parts(versions), *recipe.addons(known, versions)]


def make(folder: Path, key_home: Path, minor: str = MINOR) -> Path:
    """Write a complete bundle, helm in it, whose programs are scripts."""
    known = catalogue.load()
    versions = known.versions(MINOR)
    layout = Layout(folder / "images")
    stamps = []
    for part in [*recipe.parts(versions), *(p for p in recipe.addons(known, versions) if p.name == "helm")]:
        binaries = scripts(folder.parent / "programs" / part.name, program_names(part))
        outputs = []
        for package in part.packages:
            target = folder / f"apt/v{minor}/{ARCHITECTURE}"
            made = debpackage.build(package, binaries.joinpath, ARCHITECTURE, target)
            outputs.append(stamp.output(folder, str(made.relative_to(folder))))
        for name in part.files:
            path = folder / f"bin/v{minor}" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(binaries / name, path)
            outputs.append(stamp.output(folder, str(path.relative_to(folder))))
        for name, archive in part.archives.items():
            written = archives.write(folder, archive.path, archive.member, binaries / name)
            outputs += [stamp.output(folder, path) for path in written]
        layers = {
            layer: layout.put_layer({path[1:]: Entry(source=binaries / name) for name, path in files.items()})
            for layer, files in part.layers.items()
        }
        if part.name == "debian":
            layers = {
                name: layout.put_layer({f"etc/{name}": Entry(data=name.encode())})
                for name in ("base", "tools", "shell")
            }
        stamps.append(stamp.Stamp(part.name, part.version, "inputs", [], layers=layers, outputs=outputs))
    content = assemble.Content(minor, versions, recipe.images(known, versions), stamps)
    assemble.finish(folder, content, SigningKey(key_home))
    return folder


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that tests only read."""
    root = tmp_path_factory.mktemp("bundle")
    return make(root / "bundle", root / "keys")


@pytest.fixture
def own_copy(sample: Path, tmp_path: Path) -> Path:
    """A bundle that a test may damage."""
    return Path(shutil.copytree(sample, tmp_path / "bundle"))
