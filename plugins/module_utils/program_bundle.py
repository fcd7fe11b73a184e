# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The kubestead program as one archive for another host: its wheel, its requirements, the wheels of those.

What is made is kept in a cache by the hash of what it was made from: nothing is built or fetched twice.
To fill the cache ahead, for a run that cannot reach a package index:

    python -m kubestead.model.program_bundle --python 3.13 --machine x86_64
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import typing as t
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .cache import default_cache

REQUIREMENTS = Path("src", "kubestead", "requirements.txt")
# Every host that has a Python that is new enough has this glibc, or a newer one.
_NEWEST_GLIBC_MINOR = 34
_OLDEST_GLIBC_MINOR = 17
_SHOWN_LINES = 15
_ADVICE = (
    "It needs hatchling and pip in Ansible's environment (pip install -r requirements.txt) and, once, an "
    "index that pip reaches (pip config list). Where the run itself reaches none, fetch ahead: "
    "python -m kubestead.model.program_bundle --help"
)


class BundleError(Exception):
    """The archive could not be made; the text says what failed and what to do."""


@dataclass(frozen=True)
class Target:
    """The host that the wheels have to fit."""

    python: str
    machine: str


def program_id(source: Path) -> str:
    """The hash of all that the program is made from, in the checkout or collection `source`."""
    if not (source / "pyproject.toml").is_file():
        raise BundleError(
            f"{source} does not hold the program's sources: expected pyproject.toml and src/kubestead there"
        )
    digest = hashlib.sha256()
    package = source / "src" / "kubestead"
    names = [Path("pyproject.toml")]
    for folder, folders, files in os.walk(package, followlinks=True):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        names += [
            Path(folder, name).relative_to(source) for name in sorted(files) if not name.endswith(".pyc")
        ]
    for name in names:
        content = (source / name).read_bytes()
        digest.update(f"{name.as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def write_archive(path: Path, source: Path, cache: Path, target: Target, with_wheels: bool) -> None:
    """Write the archive for `target` to `path`: with all wheels, or with those alone that no index has."""
    pip, others = split_pip((source / REQUIREMENTS).read_text(encoding="utf-8"))
    with _locked(cache / "wheels") as wheels:
        files = _program_wheel(wheels, source)
        files += _downloaded(wheels, pip + others if with_wheels else pip, target)
    with tarfile.open(path, "w") as archive:
        for file in files:
            archive.add(file, file.name)
        with tempfile.NamedTemporaryFile() as requirements:
            requirements.write(others.encode())
            requirements.flush()
            archive.add(requirements.name, "requirements.txt")


def write_folder(folder: Path, source: Path, cache: Path, target: Target, with_wheels: bool) -> bool:
    """Put the program's wheel, its requirements and, if asked, their wheels into `folder`; was it changed?

    Nothing else stays there.
    """
    pip, others = split_pip((source / REQUIREMENTS).read_text(encoding="utf-8"))
    with _locked(cache / "wheels") as wheels:
        files = _program_wheel(wheels, source)
        files += _downloaded(wheels, pip + others, target) if with_wheels else []
        wanted = {file.name: file.read_bytes() for file in files}
    wanted["requirements.txt"] = others.encode()
    folder.mkdir(parents=True, exist_ok=True)
    there = {file.name: file.read_bytes() for file in folder.iterdir()}
    for name in there.keys() - wanted.keys():
        (folder / name).unlink()
    for name, content in wanted.items():
        if there.get(name) != content:
            (folder / name).write_bytes(content)
    return there != wanted


def fill_cache(source: Path, cache: Path, target: Target) -> None:
    """Build and fetch all that `write_archive` needs for `target`."""
    with _locked(cache / "wheels") as wheels:
        _program_wheel(wheels, source)
        _downloaded(wheels, "".join(split_pip((source / REQUIREMENTS).read_text(encoding="utf-8"))), target)


def split_pip(requirements: str) -> t.Tuple[str, str]:
    """Part locked requirements into pip's own lines, which install the rest, and the rest."""
    pip: t.List[str] = []
    others: t.List[str] = []
    current = others
    for line in requirements.splitlines(keepends=True):
        if line.strip() and not line.startswith((" ", "#")):
            current = pip if line.startswith("pip==") else others
        current.append(line)
    if not pip:
        raise BundleError(f"{REQUIREMENTS} does not pin pip: make it anew with ./test.sh lock")
    return "".join(pip), "".join(others)


def platforms(machine: str) -> t.List[str]:
    """The platform tags of wheels that run on a Linux with glibc on `machine`, newest first."""
    newer = [
        f"manylinux_2_{minor}_{machine}" for minor in range(_NEWEST_GLIBC_MINOR, _OLDEST_GLIBC_MINOR - 1, -1)
    ]
    return [*newer, f"manylinux2014_{machine}", f"linux_{machine}"]


@contextmanager
def _locked(folder: Path) -> t.Iterator[Path]:
    """Let one process at a time work in `folder`, and remove what one that was killed has left half done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / ".lock", "a", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for left in folder.glob("unfinished-*"):
                shutil.rmtree(left)
            yield folder
    except OSError as error:
        raise BundleError(
            f"the cache {folder} cannot be used: {error}. Name another folder: KUBESTEAD_CACHE."
        ) from error


def _program_wheel(wheels: Path, source: Path) -> t.List[Path]:
    def build(folder: Path) -> None:
        _run(
            [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
            source,
            "the program's wheel could not be built",
        )

    return _made_once(wheels / f"program-{program_id(source)[:16]}", build)


def _downloaded(wheels: Path, requirements: str, target: Target) -> t.List[Path]:
    digits = target.python.replace(".", "")
    digest = hashlib.sha256(requirements.encode()).hexdigest()[:16]

    def download(folder: Path) -> None:
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write(requirements)
            file.flush()
            command = [
                sys.executable,
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-input",
                "--disable-pip-version-check",
            ]
            command += ["--no-deps", "--require-hashes", "--only-binary=:all:", "--requirement", file.name]
            command += ["--dest", str(folder), "--python-version", target.python, "--implementation", "cp"]
            command += [f"--abi={abi}" for abi in (f"cp{digits}", "abi3", "none")]
            command += [f"--platform={platform}" for platform in platforms(target.machine)]
            _run(
                command,
                folder,
                f"the wheels for Python {target.python} on {target.machine} could not be fetched",
            )

    return _made_once(wheels / f"cp{digits}-{target.machine}-{digest}", download)


def _made_once(folder: Path, make: t.Callable[[Path], None]) -> t.List[Path]:
    """The files of `folder`; made first, whole or not at all, where it is not there."""
    if not folder.is_dir():
        unfinished = folder.with_name(f"unfinished-{folder.name}")
        unfinished.mkdir()
        make(unfinished)
        unfinished.rename(folder)
    return sorted(folder.glob("*.whl"))


def _run(command: t.Sequence[str], folder: Path, failure: str) -> None:
    # Wheels are archives with times in them: a fixed one makes the same sources give the same wheel.
    environment = dict(os.environ, SOURCE_DATE_EPOCH="1767225600")
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode:
        said = done.stdout.decode(errors="replace").strip().splitlines()
        lines = [line for line in said if not line.startswith("WARNING: Retrying")][-_SHOWN_LINES:]
        head = f"{failure} (exit code {done.returncode} of: {' '.join(command[:4])} …):"
        raise BundleError("\n".join([head, *lines, _ADVICE]))


def main(arguments: t.Optional[t.Sequence[str]] = None) -> int:
    """Fill the cache for a kind of host; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m kubestead.model.program_bundle", description="Fill the cache of wheels."
    )
    parser.add_argument("--python", required=True, metavar="3.13", help="the host's Python")
    parser.add_argument(
        "--machine", default=os.uname().machine, help="the host's machine as uname -m says it (%(default)s)"
    )
    parser.add_argument("--cache", type=Path, default=default_cache(), help="(%(default)s)")
    parser.add_argument(
        "--source", type=Path, default=Path(__file__).resolve().parents[2], help="the checkout (%(default)s)"
    )
    parser.add_argument(
        "--into", type=Path, metavar="FOLDER", help="put the program there, for a container's image"
    )
    parser.add_argument("--with-wheels", action="store_true", help="with --into: what it needs, too")
    options = parser.parse_args(arguments)
    target = Target(options.python, options.machine)
    try:
        if options.into is None:
            fill_cache(options.source, options.cache, target)
        else:
            new = write_folder(options.into, options.source, options.cache, target, options.with_wheels)
            known = program_id(options.source)[:12]
            sys.stdout.write(f"{known} {'written' if new else 'was there'}\n")
    except BundleError as error:
        sys.stderr.write(f"{error}\n")
        return 3
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
