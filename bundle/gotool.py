# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
"""Finds a Go client, keeps its checks on, and gets the toolchain that a minor was released with."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bundle import gomod, places
from bundle.errors import BuildFailedError, LacksError, UnreachableError

SWITCHES_TOOLCHAINS = (1, 21)
TOOLCHAIN_MODULE = "golang.org/toolchain"
OWN_SETTINGS = (
    "GOFLAGS",
    "GOTOOLCHAIN",
    "GOMODCACHE",
    "GOCACHE",
    "GOTMPDIR",
    "GOWORK",
    "GOBIN",
    "CGO_ENABLED",
)
_UNREACHABLE = re.compile(
    r"dial tcp|no such host|connection refused|i/o timeout|network is unreachable|TLS handshake|"
    r"proxyconnect|connection reset|context deadline exceeded|Forbidden|Bad Gateway|Service Unavailable",
)


@dataclass(frozen=True)
class Go:
    """A Go client on this computer."""

    path: Path
    version: tuple[int, int, int]

    @property
    def text(self) -> str:
        """The version as Go writes it."""
        return "go" + ".".join(map(str, self.version))

    @property
    def switches_toolchains(self) -> bool:
        """Whether it fetches other Go versions by itself."""
        return self.version[:2] >= SWITCHES_TOOLCHAINS


@dataclass(frozen=True)
class Caches:
    """Where the Go client keeps modules and compiled packages, and whether the folders are ours to delete."""

    modules: Path
    build: Path
    temporary: Path
    own: Path | None

    def clean(self) -> None:
        """Delete our private caches; the user's own are never touched."""
        if self.own is not None and self.own.exists():
            for folder, _, _ in os.walk(self.own):  # module folders may be read-only
                os.chmod(folder, 0o700)
            shutil.rmtree(self.own)


def find() -> Go | None:
    """The Go client that ``KUBESTEAD_GO`` names, else the newest on PATH or in the usual folders."""
    if chosen := os.environ.get("KUBESTEAD_GO"):
        if go := _inspect(Path(chosen)):
            return go
        raise LacksError(f"KUBESTEAD_GO={chosen}: is no Go client; give the path of a program called go")
    candidates: list[Path] = []
    if on_path := shutil.which("go"):
        candidates.append(Path(on_path))
    candidates.append(Path("/usr/local/go/bin/go"))
    candidates += sorted(Path("/usr/lib").glob("go-*/bin/go"))
    found = [go for go in map(_inspect, dict.fromkeys(candidates)) if go]
    return max(found, key=lambda go: go.version, default=None)


def _inspect(path: Path) -> Go | None:
    if not path.is_file() or not os.access(path, os.X_OK):
        return None
    env = {**os.environ, "GOTOOLCHAIN": "local"}
    result = subprocess.run([path, "version"], env=env, capture_output=True, text=True, check=False)
    match = re.search(r"go(\d+)\.(\d+)(?:\.(\d+))?", result.stdout)
    return Go(path, (int(match[1]), int(match[2]), int(match[3] or 0))) if match else None


def missing_packages() -> list[str]:
    """The Debian packages without which nothing can be built here; empty when all is there.

    flannel is written partly in C, so a compiler and the C library's headers are needed beside Go.
    """
    missing = [] if find() else ["golang-go"]
    if not shutil.which("gcc"):
        missing.append("gcc")
    if not Path("/usr/include/stdlib.h").exists():
        missing.append("libc6-dev")
    missing += [
        package
        for program, package in (("dpkg-deb", "dpkg"), ("gpg", "gpg"), ("gpg-agent", "gpg-agent"))
        if not shutil.which(program)
    ]
    return missing


def settings(go: Go) -> dict[str, str]:
    """The user's ``go env``, proxy and checksum database among it."""
    env = {**os.environ, "GOTOOLCHAIN": "local"}
    run = subprocess.run([go.path, "env", "-json"], env=env, capture_output=True, text=True, check=False)
    if run.returncode:
        raise LacksError(f"{go.path}: 'go env' failed: {run.stderr.strip()}")
    found = json.loads(run.stdout)
    return {key: str(value) for key, value in found.items()}


def refuse_without_checks(env: Mapping[str, str], modules: Iterable[str]) -> None:
    """Refuse settings with which the Go client would not compare modules with the checksum database."""
    problems = []
    if env.get("GOSUMDB") == "off":
        problems.append("GOSUMDB=off")
    if "-insecure" in env.get("GOFLAGS", ""):
        problems.append(f"GOFLAGS={env['GOFLAGS']}")
    if os.environ.get("GONOSUMCHECK", "") not in ("", "0"):
        problems.append(f"GONOSUMCHECK={os.environ['GONOSUMCHECK']}")
    wanted = list(modules)
    for key in ("GONOSUMDB", "GOPRIVATE", "GOINSECURE"):
        covered = [m for m in wanted if gomod.matches(env.get(key, ""), m)]
        if covered:
            problems.append(f"{key}={env[key]} (it covers {covered[0]})")
    if problems:
        raise LacksError(
            f"Go's checks of what it downloads are switched off here: {'; '.join(problems)}. A bundle is "
            "built with checks only: what comes from a proxy is compared with go.sum and with the public "
            "checksum database. Unset that ('go env -u NAME', or the environment variable) and start again."
        )


def caches(env: Mapping[str, str], output: Path) -> Caches:
    """Private caches below our cache folder, one set for each output folder.

    ``KUBESTEAD_GO_CACHE`` names others: ``user`` takes those of ``go env``, a path takes ``mod`` and
    ``build`` in it; such caches are used and never cleaned.
    """
    chosen = os.environ.get("KUBESTEAD_GO_CACHE", "")
    if chosen == "user":
        temporary = places.cache_dir() / "go-tmp"
        return Caches(Path(env["GOMODCACHE"]), Path(env["GOCACHE"]), temporary, None)
    own = places.cache_dir() / "go" / hashlib.sha256(str(output.resolve()).encode()).hexdigest()[:12]
    folder = Path(chosen).resolve() if chosen else own
    return Caches(folder / "mod", folder / "build", folder / "tmp", None if chosen else folder)


def environment(caches_: Caches, **more: str) -> dict[str, str]:
    """The environment for the Go client: the user's proxy and checksum database, our own everything else."""
    caches_.temporary.mkdir(parents=True, exist_ok=True)
    env = {k: v for k, v in os.environ.items() if k not in OWN_SETTINGS}
    return {
        **env,
        "GOFLAGS": "-mod=readonly -trimpath -buildvcs=false -modcacherw",
        "GOMODCACHE": str(caches_.modules),
        "GOCACHE": str(caches_.build),
        "GOTMPDIR": str(caches_.temporary),
        "GOWORK": "off",
        "CGO_ENABLED": "0",
        "GOTOOLCHAIN": "local",
        **more,
    }


def architecture() -> str:
    """This computer's architecture as Go and Debian call it."""
    machine = platform.machine()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def toolchain(go: Go, wanted: str, caches_: Caches) -> Path:
    """The ``go`` program of version ``wanted``.

    From 1.21 on the client fetches another Go by itself; an older one is used to download the module that
    holds it. The checksum database vouches for it either way. The program is then called directly: a client
    that hands over to another on the way loses what ``dying_with_us`` has set.
    """
    if go.text == f"go{wanted}":
        return go.path
    if not go.switches_toolchains:
        return _unpacked(go, wanted, caches_)
    env = environment(caches_, GOTOOLCHAIN=f"go{wanted}")
    root = run(
        [str(go.path), "env", "GOROOT"], cwd=caches_.temporary, env=env, what=f"the Go toolchain {wanted}"
    )
    return Path(root.strip()) / "bin" / "go"


def _unpacked(go: Go, wanted: str, caches_: Caches) -> Path:
    version = f"v0.0.1-go{wanted}.linux-{architecture()}"
    root = caches_.modules / f"{TOOLCHAIN_MODULE}@{version}"
    program = root / "bin" / "go"
    ready = root.parent / f".{root.name}.ready"
    if ready.exists() and os.access(program, os.X_OK):
        return program
    with tempfile.TemporaryDirectory(dir=_made(caches_.temporary)) as folder:
        (Path(folder) / "go.mod").write_text("module kubestead.invalid/toolchain\n", encoding="utf-8")
        env = environment(caches_, GOFLAGS="-mod=mod -modcacherw")
        run(
            [str(go.path), "mod", "download", "-json", f"{TOOLCHAIN_MODULE}@{version}"],
            cwd=Path(folder),
            env=env,
            what=f"the Go toolchain {wanted}",
        )
    # A module's archive knows no execute permission, and may hold no file called go.mod.
    for tool in (*root.glob("bin/*"), *root.glob("pkg/tool/*/*")):
        tool.chmod(tool.stat().st_mode | 0o111)
    for hidden in root.glob("src/**/_go.mod"):
        hidden.parent.chmod(0o700)
        shutil.copyfile(hidden, hidden.with_name("go.mod"))
    ready.touch()
    return program


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def run(command: list[str], *, cwd: Path, env: Mapping[str, str], what: str) -> str:
    """Run the Go client and return its output; a failure is told apart from an unreachable proxy."""
    result = subprocess.run(
        dying_with_us(command), cwd=cwd, env=env, capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise failure(what, result.stderr + result.stdout)
    return result.stdout


def failure(what: str, output: str) -> BuildFailedError | UnreachableError:
    """The error for a failed Go command, from the last lines that it wrote."""
    lines = [line for line in output.splitlines() if line.strip() and not line.startswith("go: downloading")]
    tail = without_secrets("\n  ".join(lines[-12:]))
    if _UNREACHABLE.search(output):
        return UnreachableError(
            f"{what}: the Go module proxy (GOPROXY of 'go env') did not answer:\n  {tail}"
        )
    return BuildFailedError(f"{what}: the Go client failed:\n  {tail}")


def without_secrets(text: str) -> str:
    """The text with the user and password of addresses left out."""
    return re.sub(r"://[^/@\s]*@", "://…@", text)


def dying_with_us(command: list[str]) -> list[str]:
    """The command, ended by the kernel when we are killed, where util-linux can say so."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM", *command] if setpriv else command
