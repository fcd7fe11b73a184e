# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
"""What is looked at before a build begins, so that it does not end in the middle."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from bundle import compile as compiling
from bundle import gotool
from bundle.compile import Toolchain
from bundle.errors import LacksError, UnreachableError
from bundle.gotool import Go
from bundle.recipe import Part, Program

GIB = 1 << 30
# The whole of a minor: module and build caches, intermediate programs, the result.
CACHE_BYTES = 9 * GIB
RESULT_BYTES = 3 * GIB
WHOLE_SECONDS = 800
REACH_SECONDS = 20.0


def prepare(
    minor: str, go_version: str, todo: list[Part], folder: Path, tell: Callable[[str], None]
) -> Toolchain:
    """Check programs, settings, space and network, all before anything is built; returns the toolchain."""
    if missing := gotool.missing_packages():
        raise LacksError(
            f"To build Kubernetes from Go modules this computer lacks {', '.join(missing)}. "
            f"Install them: apt-get install {' '.join(missing)}"
        )
    go = gotool.find()
    if go is None:
        raise LacksError("No Go program was found on PATH, in /usr/local/go/bin or in /usr/lib/go-*/bin.")
    programs = [part.program for part in todo if part.program]
    env = gotool.settings(go)
    gotool.refuse_without_checks(env, module_paths(programs, minor))
    caches = gotool.caches(env, folder)
    check_space(todo, caches, folder)
    if any(not program.own for program in programs):
        reach(go, *first_module(programs, minor), REACH_SECONDS)
    program = gotool.toolchain(go, go_version, caches)
    fetched = "" if program == go.path else f", fetched by {go.path} ({go.text})"
    tell(f"building with Go {go_version}{fetched}; caches in {caches.modules.parent}")
    return Toolchain(go_version, program, caches)


def install_missing(tell: Callable[[str], None]) -> None:
    """Install the Debian packages without which nothing can be built, as root or by sudo."""
    missing = gotool.missing_packages()
    if not missing:
        return
    tell(f"installing Debian packages: {' '.join(missing)}")
    before = [] if os.geteuid() == 0 else ["sudo", "--non-interactive"]
    env = ["env", "DEBIAN_FRONTEND=noninteractive"]
    install = ["apt-get", "install", "-qq", "--yes", "--no-install-recommends", *missing]
    for command in (["apt-get", "update", "-qq"], install):
        result = subprocess.run([*before, *env, *command], capture_output=True, text=True, check=False)
    if result.returncode:
        tail = "\n  ".join(result.stderr.strip().splitlines()[-6:])
        raise LacksError(f"{' '.join(missing)} could not be installed by apt-get:\n  {tail}")


def module_paths(programs: Iterable[Program], minor: str) -> list[str]:
    """All modules whose checksums matter, the toolchain among them."""
    found = {gotool.TOOLCHAIN_MODULE: None}
    for program in programs:
        if not program.own:
            found |= dict.fromkeys(compiling.all_modules(program, minor))
    return list(found)


def check_space(todo: list[Part], caches: gotool.Caches, folder: Path) -> None:
    """Refuse to start where the disk would fill up."""
    share = min(1.0, sum(part.seconds for part in todo) / WHOLE_SECONDS)
    wants: dict[int, tuple[Path, int]] = {}
    for path, size in (
        (caches.modules, int(CACHE_BYTES * share) - used(caches)),
        (folder, int(RESULT_BYTES * share)),
    ):
        there = path
        while not there.exists():
            there = there.parent
        device = there.stat().st_dev
        wants[device] = (there, wants.get(device, (there, 0))[1] + max(0, size))
    problems = []
    for there, size in wants.values():
        free = shutil.disk_usage(there).free
        if free < size:
            problems.append(
                f"{there}: {free / GIB:.1f} GiB are free, the build needs about {size / GIB:.1f} GiB there. "
                "Make room, or put the cache elsewhere (KUBESTEAD_CACHE), or the bundle (KUBESTEAD_BUNDLE)."
            )
    if problems:
        raise LacksError(*problems)


def used(caches: gotool.Caches) -> int:
    """The bytes that an earlier, interrupted build has put into the caches already."""
    total = 0
    for folder in (caches.modules, caches.build):
        if folder.is_dir():
            result = subprocess.run(["du", "-s", "-B1", folder], capture_output=True, text=True, check=False)
            total += int(result.stdout.split()[0]) if result.stdout else 0
    return total


def first_module(programs: Iterable[Program], minor: str) -> tuple[str, str]:
    """A module to try the proxy with, and its version."""
    published = next(program for program in programs if not program.own)
    pinned = compiling.sources(published, minor)[0]
    return pinned.path, pinned.version


def reach(go: Go, module: str, version: str, seconds: float) -> None:
    """Ask the user's Go proxy for a module, with nothing cached; raises what the client says."""
    with tempfile.TemporaryDirectory(prefix="ks-reach-") as folder:
        caches = gotool.Caches(Path(folder) / "mod", Path(folder) / "build", Path(folder) / "tmp", None)
        env = gotool.environment(caches, GOFLAGS="-mod=mod -modcacherw", GO111MODULE="on")
        command = [str(go.path), "list", "-m", f"{module}@{version}"]
        try:
            result = subprocess.run(
                command, cwd=folder, env=env, capture_output=True, text=True, timeout=seconds, check=False
            )
        except subprocess.TimeoutExpired:
            raise UnreachableError(_unreachable(go, f"no answer within {seconds:.0f} s")) from None
    if result.returncode:
        lines = result.stderr.strip().splitlines()
        raise UnreachableError(_unreachable(go, lines[-1] if lines else "go list failed"))


def _unreachable(go: Go, reason: str) -> str:
    proxy = gotool.settings(go).get("GOPROXY", "")
    said = gotool.without_secrets(f"GOPROXY is {proxy!r}; {reason}")
    return (
        f"The Go module proxy cannot be used from here: {said}. Set another "
        "('go env -w GOPROXY=…'; HTTPS_PROXY is honoured), or copy a finished bundle here (KUBESTEAD_BUNDLE)."
    )
