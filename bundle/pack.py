# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
"""Turns one part into its layers, packages and files."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bundle import archives, debian, debpackage, gotool, places, stamp
from bundle import compile as compiling
from bundle.compile import Toolchain
from bundle.oci import Entry, Layout
from bundle.recipe import Part, Program
from bundle.stamp import Stamp


def apt_path(minor: str, architecture: str, name: str) -> str:
    """Where a package lies in a bundle."""
    return f"apt/v{minor}/{architecture}/{name}"


@dataclass(frozen=True)
class Workshop:
    """Where parts of one minor are made: layers go to the layout, all else to ``work/<part>`` for now."""

    minor: str
    toolchains: Mapping[str, Toolchain]
    layout: Layout
    work: Path

    def make(self, part: Part, inputs: str, progress: Callable[[int], None]) -> Stamp:
        """Make a part; ``progress`` hears how many packages are compiled."""
        work = self.work / part.name
        began = time.monotonic()
        if part.program is None:
            layers, taken = debian.layers(self.layout, work)
            return Stamp(part.name, part.version, inputs, [t.as_dict() for t in taken], layers=layers)
        binaries = self._compiled(part.program, work, progress)
        layers = {
            layer: self.layout.put_layer(
                {path.lstrip("/"): Entry(source=binaries / n) for n, path in files.items()}
            )
            for layer, files in part.layers.items()
        }
        sources = self._sources(part.program)
        for name, furniture in part.furniture.items():
            layers[name], taken = debian.furnish(self.layout, furniture, work / name)
            sources += [t.as_dict() for t in taken]
        outputs = self._outputs(part, binaries, work / "outputs")
        return Stamp(
            part.name,
            part.version,
            inputs,
            sources,
            toolchain=f"go{self.toolchains[part.name].version}",
            seconds=int(time.monotonic() - began),
            layers=layers,
            outputs=outputs,
        )

    def _compiled(self, program: Program, work: Path, progress: Callable[[int], None]) -> Path:
        """The built programs; those of an interrupted build are taken when they are of the same input."""
        mark = work / "compiled"
        toolchain = self.toolchains[program.name]
        wanted = compiling.inputs(program, self.minor, toolchain.version)
        if mark.is_file() and mark.read_text(encoding="utf-8") == wanted:
            return work / "bin"
        mark.unlink(missing_ok=True)
        binaries = compiling.build(program, self.minor, toolchain, work, progress)
        mark.write_text(wanted, encoding="utf-8")
        return binaries

    def _outputs(self, part: Part, binaries: Path, staged: Path) -> list[stamp.Output]:
        shutil.rmtree(staged, ignore_errors=True)
        architecture = gotool.architecture()
        paths = []
        for package in part.packages:
            path = apt_path(self.minor, architecture, debpackage.filename(package, architecture))
            debpackage.build(package, lambda name: binaries / name, architecture, (staged / path).parent)
            paths.append(path)
        for name, path in part.files.items():
            (staged / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(binaries / name, staged / path)
            (staged / path).chmod(0o755)
            paths.append(path)
        for name, archive in part.archives.items():
            paths += archives.write(staged, archive.path, archive.member, binaries / name)
        return [stamp.output(staged, path) for path in paths]

    def _sources(self, program: Program) -> list[dict[str, str]]:
        if program.own:
            folder = compiling.source_folder(program, self.minor).relative_to(places.CHECKOUT)
            return [{"own": str(folder)}]
        return [
            {"module": pinned.path, "version": pinned.version, "sum": pinned.sum}
            for pinned in compiling.sources(program, self.minor)
        ]
