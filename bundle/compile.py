# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
"""Builds the Go programs of a part and counts how far it is."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bundle import gomod, gotool, places
from bundle.errors import UnreachableError, WrongInputError
from bundle.recipe import Program

# Without debugging tables, which are cut off at the end anyway: a fifth less cache, a twentieth less time.
LINK = ("-s", "-w")
COMPILE = ("-dwarf=false",)
ATTEMPTS = 3


@dataclass(frozen=True)
class Toolchain:
    """A Go of a certain version and its caches."""

    version: str
    program: Path
    caches: gotool.Caches

    def environment(self, program: Program) -> dict[str, str]:
        """The environment in which a program is built."""
        return gotool.environment(self.caches, CGO_ENABLED="1" if program.cgo else "0")


def is_common(program: Program, minor: str) -> bool:
    """Whether all minors have the same of a program."""
    return not program.own and not (places.MODULES / minor / program.name).is_dir()


def source_folder(program: Program, minor: str) -> Path:
    """Where a program's ``go.mod`` is kept in the checkout."""
    if program.own:
        return places.PROGRAMS / program.name
    return (places.COMMON if is_common(program, minor) else places.MODULES / minor) / program.name


def source_files(program: Program, minor: str) -> list[Path]:
    """The files that say what is built; refuses a part for which they are not there."""
    folder = source_folder(program, minor)
    if not (folder / "go.mod").is_file():
        raise WrongInputError(f"{folder}: go.mod is missing, so {program.name} of {minor} cannot be built")
    return sorted(p for p in folder.iterdir() if p.name in ("go.mod", "go.sum") or p.suffix == ".go")


def sources(program: Program, minor: str) -> list[gomod.Pinned]:
    """The published modules that a program comes from."""
    return [] if program.own else gomod.read(source_folder(program, minor)).sources


def all_modules(program: Program, minor: str) -> list[str]:
    """Every module that takes part in building a program."""
    return [] if program.own else [line.split()[0] for line in gomod.read(source_folder(program, minor)).sums]


def inputs(program: Program, minor: str, go: str) -> str:
    """A digest of everything that decides what comes out of the compiler."""
    said = [go, gotool.architecture(), *LINK, *COMPILE, *program.ldflags, *program.tags, str(program.cgo)]
    said += program.tests
    digest = hashlib.sha256("\0".join(said).encode())
    for path in source_files(program, minor):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _workplace(program: Program, minor: str, folder: Path) -> Path:
    """A copy outside the checkout, so that the Go client neither writes there nor asks git about it."""
    target = folder / "source"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for path in source_files(program, minor):
        shutil.copyfile(path, target / path.name)
    return target


def _targets(program: Program, minor: str) -> list[str]:
    return ["."] if program.own else list(gomod.read(source_folder(program, minor)).tools)


def build(
    program: Program, minor: str, toolchain: Toolchain, folder: Path, progress: Callable[[int], None]
) -> Path:
    """Build a part's programs; returns the folder that holds them. ``progress`` gets the packages done.

    A download that breaks off is tried again: what was fetched and compiled until then is kept.
    """
    for _ in range(ATTEMPTS - 1):
        try:
            return _build(program, minor, toolchain, folder, progress)
        except UnreachableError:
            continue
    return _build(program, minor, toolchain, folder, progress)


def _build(
    program: Program, minor: str, toolchain: Toolchain, folder: Path, progress: Callable[[int], None]
) -> Path:
    target = folder / "bin"
    new = folder / "bin.new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    options = ["-ldflags", " ".join((*LINK, *program.ldflags))]
    options += [f"-gcflags=all={flag}" for flag in COMPILE]
    if program.tags:
        options += ["-tags", ",".join(program.tags)]
    go = str(toolchain.program)
    commands = [[go, "build", "-v", "-o", f"{new}/", *options, *_targets(program, minor)]]
    for test in program.tests:
        made = new / f"{test.rpartition('/')[2]}.test"
        commands.append([go, "test", "-c", "-vet=off", "-o", str(made), *options, test])
    work = _workplace(program, minor, folder)
    number = itertools.count(1)
    for command in commands:
        process = subprocess.Popen(
            gotool.dying_with_us(command),
            cwd=work,
            env=toolchain.environment(program),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            output = _follow(process, lambda: progress(next(number)))
        except BaseException:
            process.terminate()
            process.wait()
            raise
        if process.returncode:
            raise gotool.failure(program.name, output)
    shutil.rmtree(target, ignore_errors=True)
    os.rename(new, target)
    return target


def _follow(process: subprocess.Popen[str], begun: Callable[[], None]) -> str:
    """What the Go client says; ``begun`` hears of each package."""
    lines: list[str] = []
    for line in process.stderr or ():
        lines.append(line)
        # -v names each package as it is started, alone on its line
        if " " not in line.strip():
            begun()
    process.wait()
    return "".join(lines)


class Prefetcher:
    """Downloads the modules of the coming programs while others are compiled, and counts their packages."""

    def __init__(self, minor: str, toolchains: Mapping[str, Toolchain], folder: Path) -> None:
        self.minor, self.toolchains, self.folder = minor, toolchains, folder
        self.totals: dict[str, int] = {}
        self._lock = threading.Lock()
        self._stopped = False
        self._process: subprocess.Popen[str] | None = None
        self._thread: threading.Thread | None = None

    def start(self, programs: list[Program]) -> None:
        """Begin, in the order given."""
        self._thread = threading.Thread(target=self._run, args=(programs,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the download under way and begin no other."""
        with self._lock:
            self._stopped = True
            if self._process:
                self._process.terminate()
        if self._thread:
            self._thread.join()

    def _run(self, programs: list[Program]) -> None:
        for program in programs:
            work = _workplace(program, self.minor, self.folder / program.name)
            tags = ["-tags", ",".join(program.tags)] if program.tags else []
            toolchain = self.toolchains[program.name]
            tests = ["-test"] if program.tests else []
            command = [str(toolchain.program), "list", "-deps", *tests, *tags, *_targets(program, self.minor)]
            with self._lock:
                if self._stopped:
                    return
                self._process = subprocess.Popen(
                    gotool.dying_with_us(command),
                    cwd=work,
                    env=toolchain.environment(program),
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                )
            listed, _ = self._process.communicate()
            if self._process.returncode:
                return  # the build of the program itself meets the same and tells it
            self.totals[program.name] = len(listed.split())
