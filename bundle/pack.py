# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
"""Turns one part into its layers, packages and files."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from bundle import compile as compiling
from bundle import debian, debpackage, gotool, places, stamp
from bundle.compile import Toolchain
from bundle.oci import Entry, Layout
from bundle.recipe import Part, Program
from bundle.stamp import Stamp


def apt_path(minor: str, architecture: str, name: str) -> str:
    """Where a package lies in a bundle."""
    return f"apt/v{minor}/{architecture}/{name}"


def make_debian(part: Part, inputs: str, layout: Layout, work: Path) -> Stamp:
    """The layers that come from Debian packages."""
    layers, taken = debian.layers(layout, work)
    sources = [{"apt": t.package, "version": t.version, "architecture": t.architecture, "sha256": t.sha256} for t in taken]
    return Stamp(part.name, part.version, inputs, sources, layers=layers)


def make_go(
    part: Part,
    program: Program,
    minor: str,
    inputs: str,
    layout: Layout,
    toolchain: Toolchain,
    work: Path,
    progress: Callable[[int], None],
) -> Stamp:
    """Compile a part's programs and pack them; what it gives lies in ``work/outputs`` until it is put in place."""
    began = time.monotonic()
    binaries = _compiled(program, minor, toolchain, work, progress)
    staged = work / "outputs"
    shutil.rmtree(staged, ignore_errors=True)
    architecture = gotool.architecture()
    paths = []
    for package in part.packages:
        path = apt_path(minor, architecture, debpackage.filename(package, architecture))
        debpackage.build(package, lambda name: binaries / name, architecture, (staged / path).parent)
        paths.append(path)
    for name, path in part.files.items():
        (staged / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(binaries / name, staged / path)
        (staged / path).chmod(0o755)
        paths.append(path)
    layers = {
        layer: layout.put_layer({path.lstrip("/"): Entry(source=binaries / name) for name, path in files.items()})
        for layer, files in part.layers.items()
    }
    return Stamp(
        part.name,
        part.version,
        inputs,
        _sources(program, minor),
        toolchain=f"go{toolchain.version}",
        seconds=int(time.monotonic() - began),
        layers=layers,
        outputs=[stamp.output(staged, path) for path in paths],
    )


def _sources(program: Program, minor: str) -> list[dict[str, str]]:
    if program.own:
        return [{"own": os.fspath(compiling.source_folder(program, minor).relative_to(places.CHECKOUT))}]
    return [
        {"module": pinned.path, "version": pinned.version, "sum": pinned.sum}
        for pinned in compiling.sources(program, minor)
    ]


def _compiled(
    program: Program, minor: str, toolchain: Toolchain, work: Path, progress: Callable[[int], None]
) -> Path:
    """The built programs; those of an interrupted build are taken when they are of the same input."""
    mark = work / "compiled"
    wanted = compiling.inputs(program, minor, toolchain.version)
    if mark.is_file() and mark.read_text(encoding="utf-8") == wanted:
        return work / "bin"
    mark.unlink(missing_ok=True)
    binaries = compiling.build(program, minor, toolchain, work, progress)
    mark.write_text(wanted, encoding="utf-8")
    return binaries
