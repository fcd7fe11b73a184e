# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
"""Builds a bundle from published Go modules: part by part, resumable, then put in place at once."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bundle import aptrepo, assemble, gotool, lock, pack, places, preflight, recipe, stamp
from bundle import compile as compiling
from bundle.catalogue import Catalogue
from bundle.compile import Prefetcher, Toolchain
from bundle.errors import BundleError, WrongInputError
from bundle.oci import Layout
from bundle.progress import Progress
from bundle.recipe import Part
from bundle.stamp import Stamp
from bundle.status import BUILDING, FAILED, READY, Status, StatusFile
from kubestead.model.atomic import write_atomically

ALL = "all"


@dataclass
class Options:
    """What a build is asked for."""

    minor: str
    folder: Path
    status_file: Path
    keep_caches: bool = False
    wait: bool = True
    rebuild: tuple[str, ...] = ()
    addons: tuple[str, ...] = ()
    install: bool = False


def build(catalogue: Catalogue, options: Options, tell: Callable[[str], None] = print) -> None:
    """Build what is missing of a minor in a bundle folder, or nothing when all of it is there."""
    parts = _wanted(catalogue, options)
    unknown = set(options.rebuild) - {part.name for part in parts}
    if unknown:
        known = ", ".join(part.name for part in parts)
        raise WrongInputError(f"--rebuild: no part is called {', '.join(sorted(unknown))}: there are {known}")
    with lock.held(options.folder / places.LOCK, wait=options.wait, tell=tell):
        status = StatusFile(options.status_file)
        try:
            _Job(catalogue, options, parts, status, tell).run()
        except BundleError as error:
            status.write(Status(FAILED, "", str(error)))
            raise
        except KeyboardInterrupt:
            status.write(
                Status(FAILED, "", "the build was interrupted; start it again, it goes on where it was")
            )
            raise
        except OSError as error:
            with suppress(OSError):  # on a full disk this cannot be written either
                status.write(Status(FAILED, "", str(error)))
            raise
        status.write(Status(READY))


def _wanted(catalogue: Catalogue, options: Options) -> list[Part]:
    """The minor's parts with the add-ons that are asked for, needed, or in the bundle already."""
    versions = catalogue.versions(options.minor)
    addons = recipe.addons(catalogue, versions)
    unknown = set(options.addons) - {*(part.name for part in addons), ALL}
    if unknown:
        raise WrongInputError(
            f"--with: no add-on is called {', '.join(sorted(unknown))}: there are "
            f"{', '.join(part.name for part in addons)}, and {ALL} for all of them, with {options.minor}"
        )
    names = {*options.addons, *recipe.needed_addons(versions)}
    names |= set(stamp.known(options.folder, options.minor))
    chosen = [part for part in addons if ALL in names or part.name in names]
    return [*recipe.parts(versions), *chosen]


class _Job:
    def __init__(
        self,
        catalogue: Catalogue,
        options: Options,
        parts: list[Part],
        status: StatusFile,
        tell: Callable[[str], None],
    ) -> None:
        self.catalogue, self.options, self.parts, self.status, self.tell = (
            catalogue,
            options,
            parts,
            status,
            tell,
        )
        self.minor, self.folder = options.minor, options.folder
        self.layout = Layout(self.folder / "images")
        self.work = self.folder / places.BUILDING / self.minor
        self.go = {part.name: self._go(part) for part in parts}
        self.inputs = {part.name: stamp.inputs(part, self.minor, self.go[part.name]) for part in parts}

    def run(self) -> None:
        """Build what is not there in the form wanted, then put everything in place."""
        self._refuse_other_architecture()
        done = self._kept()
        todo = [part for part in self.parts if part.name not in done]
        version = self.catalogue.versions(self.minor).kubernetes
        if not todo and assemble.is_complete(self.folder, self.minor):
            self.tell(f"{self.folder}: Kubernetes {version} is complete, nothing to build")
            return
        for part in self.parts:
            if part.name in done:
                self.tell(f"{part.name} {part.version}: kept")
        caches = None
        if todo:
            self.status.write(Status(BUILDING, "checking what is here"))
            if self.options.install:
                preflight.install_missing(self.tell)
            releases = dict.fromkeys(self.go[part.name] for part in todo)
            made = {go: preflight.prepare(self.minor, go, todo, self.folder, self.tell) for go in releases}
            caches = next(iter(made.values())).caches
            done |= self._build(todo, {part.name: made[self.go[part.name]] for part in todo})
        self.status.write(Status(BUILDING, "putting the bundle together"))
        key = aptrepo.SigningKey(places.cache_dir() / "keys" / "bundle")
        versions = self.catalogue.versions(self.minor)
        images = recipe.images(self.catalogue, versions, self.parts)
        stamps = [done[part.name] for part in self.parts]
        assemble.finish(self.folder, assemble.Content(self.minor, versions, images, stamps), key)
        if not self.options.keep_caches:
            shutil.rmtree(self.folder / places.BUILDING, ignore_errors=True)
            if caches:
                caches.clean()
        self.tell(f"{self.folder}: the bundle with Kubernetes {version} is ready")

    def _go(self, part: Part) -> str:
        """What all minors share is built with the default minor's Go, all else with that of its own minor."""
        common = part.program is not None and compiling.is_common(part.program, self.minor)
        return self.catalogue.minors[self.catalogue.default_minor if common else self.minor].go

    def _refuse_other_architecture(self) -> None:
        manifest = assemble.read_manifest(self.folder)
        if manifest and manifest["architecture"] != gotool.architecture():
            raise WrongInputError(
                f"{self.folder}: holds software for {manifest['architecture']}, and this computer builds for "
                f"{gotool.architecture()}: choose another folder by --output or KUBESTEAD_BUNDLE"
            )

    def _kept(self) -> dict[str, Stamp]:
        """The parts that are there in the form wanted, also those that another minor has."""
        kept = {}
        for name, inputs in self.inputs.items():
            if name in self.options.rebuild:
                continue
            for minor in (self.minor, *self._others()):
                found = stamp.known(self.folder, minor).get(name)
                if found and found.inputs == inputs:
                    found = found if minor == self.minor else self._borrow(found, minor)
                    if self._is_whole(found):
                        kept[name] = found
                        break
        return kept

    def _others(self) -> list[str]:
        manifest = assemble.read_manifest(self.folder)
        return [minor for minor in (manifest or {"minors": {}})["minors"] if minor != self.minor]

    def _borrow(self, found: Stamp, minor: str) -> Stamp:
        """What another minor has of the same making, with its packages at this minor's place."""
        outputs = []
        for output in found.outputs:
            path = output.path.replace(f"apt/v{minor}/", f"apt/v{self.minor}/")
            source, staged = self.folder / output.path, self.work / found.name / "outputs" / path
            if path != output.path and source.is_file():
                staged.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, staged)
            outputs.append(dataclasses.replace(output, path=path))
        return dataclasses.replace(found, outputs=outputs)

    def _is_whole(self, found: Stamp) -> bool:
        staged = self.work / found.name / "outputs"
        files = [(self.layout.blob(layer.digest), layer.size) for layer in found.layers.values()]
        for output in found.outputs:
            waiting = staged / output.path
            files.append((waiting if waiting.exists() else self.folder / output.path, output.size))
        return all(path.is_file() and path.stat().st_size == size for path, size in files)

    def _build(self, todo: list[Part], toolchains: Mapping[str, Toolchain]) -> dict[str, Stamp]:
        prefetcher = Prefetcher(self.minor, toolchains, self.work / ".prefetch")
        prefetcher.start([part.program for part in todo if part.program])
        workshop = pack.Workshop(self.minor, toolchains, self.layout, self.work)
        progress = Progress(todo, self.status, self.tell)
        built: dict[str, Stamp] = {}
        try:
            for part in todo:
                progress.begin(part, prefetcher.totals)
                built[part.name] = workshop.make(part, self.inputs[part.name], progress.packages)
                data = json.dumps(built[part.name].as_dict(), indent=1).encode()
                write_atomically(self.work / part.name / "stamp.json", data, parents=True)
                progress.end(part)
        finally:
            prefetcher.stop()
        return built
