# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian's installer for network boot: kernel and initrd, from the package that the archive has of them.

apt fetches it and checks whom it is from, with settings of its own: any release's installer can be had on
any machine that has apt and Debian's keys, and nothing is installed.
"""

from __future__ import annotations

import os
import re
import subprocess
import tarfile
import tempfile
import typing as t
from dataclasses import dataclass
from pathlib import Path

SUITES: t.Mapping[str, str] = {"12": "bookworm", "13": "trixie"}
FILES = ("linux", "initrd.gz")
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
VERSION = "version"  # the file that says of which version the others are

#: Runs a program and gives what it prints; raises InstallerError when it fails.
Run = t.Callable[[t.Sequence[str]], str]


class InstallerError(Exception):
    """The installer cannot be had; the message says what to do."""


def run(argv: t.Sequence[str]) -> str:
    """Run a program."""
    done = subprocess.run(
        argv, check=False, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C.UTF-8"}
    )
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise InstallerError("{0} failed: {1}".format(" ".join(argv[:1]), " ".join(said[-4:])))
    return done.stdout


@dataclass(frozen=True)
class Source:
    """Where a release's installer comes from. What apt knows of the archive is kept in `folder`."""

    mirror: str
    release: str
    architecture: str
    folder: Path
    keyring: str = KEYRING

    @property
    def package(self) -> str:
        """The package's name."""
        return "debian-installer-{0}-netboot-{1}".format(self.release, self.architecture)

    def prepare(self) -> None:
        """Tell apt of the archive, and nothing else."""
        for name in ("lists/partial", "cache/archives/partial"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "sources.list").write_text(
            "deb [signed-by={0}] {1} {2} main\n".format(self.keyring, self.mirror, SUITES[self.release])
        )

    def options(self) -> t.List[str]:
        """What makes apt use the archive alone."""
        settings = {
            "Dir::Etc::sourcelist": str(self.folder / "sources.list"),
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "Dir::State::lists": str(self.folder / "lists"),
            "Dir::State::status": "/dev/null",
            "Dir::Cache": str(self.folder / "cache"),
            "APT::Default-Release": "",
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
            "Acquire::IndexTargets::deb::CNF::DefaultEnabled": "false",
        }
        return [word for name, value in settings.items() for word in ("-o", "{0}={1}".format(name, value))]

    def refresh(self, run: Run = run) -> str:
        """Read the archive's index; return the version that it has."""
        self.prepare()
        run(["apt-get", "--quiet", *self.options(), "-o", "APT::Update::Error-Mode=any", "update"])
        shown = run(["apt-cache", *self.options(), "show", "--no-all-versions", self.package])
        found = re.search(r"^Version: (\S+)$", shown, re.MULTILINE)
        if not found:
            raise InstallerError(
                "{0} has no package {1} in {2}".format(self.mirror, self.package, SUITES[self.release])
            )
        return found.group(1)

    def extract(self, dest: Path, run: Run = run) -> None:
        """Fetch the package and put kernel and initrd into `dest`."""
        with tempfile.TemporaryDirectory(dir=str(self.folder)) as work:
            here = os.getcwd()
            os.chdir(work)  # apt-get knows no other way to say where a download goes
            try:
                run(["apt-get", "--quiet", *self.options(), "download", self.package])
            finally:
                os.chdir(here)
            package = next(Path(work).glob("*.deb"), None)
            if package is None:
                raise InstallerError("apt-get has fetched no {0}".format(self.package))
            version = run(["dpkg-deb", "--field", str(package), "Version"]).strip()
            unpack(package, self.release, self.architecture, dest)
            _replace(dest / VERSION, [version.encode() + b"\n"])


def present(dest: Path) -> str:
    """The version of the files in `dest`; empty where one of them is missing."""
    try:
        if all((dest / name).stat().st_size for name in FILES):
            return (dest / VERSION).read_text().strip()
    except OSError:
        pass
    return ""


def unpack(package: Path, release: str, architecture: str, dest: Path) -> None:
    """Take kernel and initrd out of a package."""
    inside = "./usr/lib/debian-installer/images/{0}/{1}/text/debian-installer/{1}/{2}"
    wanted = {inside.format(release, architecture, name): name for name in FILES}
    dest.mkdir(parents=True, exist_ok=True)
    # While the files are of two versions none is named.
    if (dest / VERSION).exists():
        (dest / VERSION).unlink()
    unpacking = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE)
    with unpacking, tarfile.open(fileobj=unpacking.stdout, mode="r|") as archive:
        for member in archive:
            if member.isfile() and member.name in wanted:
                _replace(dest / wanted.pop(member.name), _pieces(archive.extractfile(member)))
    if unpacking.returncode or wanted:
        lacking = ", ".join(sorted(wanted.values())) or "its end"
        raise InstallerError("{0} is not as expected: {1} is missing".format(package.name, lacking))


def _pieces(content: t.Optional[t.IO[bytes]]) -> t.Iterator[bytes]:
    while content is not None:
        piece = content.read(1 << 20)
        if not piece:
            return
        yield piece


def _replace(path: Path, pieces: t.Iterable[bytes]) -> None:
    handle, name = tempfile.mkstemp(dir=str(path.parent), prefix=".{0}.".format(path.name))
    try:
        with os.fdopen(handle, "wb") as stream:
            for piece in pieces:
                stream.write(piece)
        os.chmod(name, 0o644)
        os.replace(name, str(path))
    except BaseException:
        os.unlink(name)
        raise
