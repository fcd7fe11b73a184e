# SPDX-License-Identifier: GPL-3.0-or-later
"""A Debian system in a folder: made by mmdebstrap, changed by hand before it is packed."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .errors import BuildError
from .settings import Settings
from .sources import Archive, apt_options

# Documentation and translations: a third of a small system. Packages that are installed later bring theirs.
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*")
KEPT = ("/usr/share/doc/*/copyright", "/usr/share/locale/locale.alias")
_ENVIRONMENT = {**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive", "TMPDIR": "/var/tmp"}


@dataclass(frozen=True)
class Workshop:
    """What a build has: the settings, the archive, a folder that is taken away afterwards, a log."""

    settings: Settings
    archive: Archive
    work: Path
    log: Path


class System:
    """A system in `folder`, its making told in `log`."""

    def __init__(self, folder: Path, log: Path) -> None:
        """Nothing is there yet."""
        self.folder, self._log = folder, log

    def make(self, suite: str, archive: Archive, packages: Sequence[str], hooks: Sequence[str] = ()) -> None:
        """Make it from the archive; `hooks` are programs that mmdebstrap runs with the folder in the end."""
        options = [f"--aptopt={line}" for line in (*apt_options(), 'APT::Install-Recommends "false"')]
        options += [f"--dpkgopt=path-exclude={path}" for path in LEFT_OUT]
        options += [f"--dpkgopt=path-include={path}" for path in KEPT]
        options += [f"--customize-hook={hook}" for hook in hooks]
        # In a mount namespace of its own: what it mounts goes with it, also when it is killed.
        argv = [
            "unshare", "--mount", "--propagation=private", "--kill-child", "--fork",
            "mmdebstrap", "--mode=root", "--variant=apt", f"--include={','.join(packages)}",
            "--dpkgopt=force-unsafe-io", *options, suite, str(self.folder), "-",
        ]  # fmt: skip
        self._run(argv, "".join(f"{line}\n" for line in archive.signed_lines(suite)), "mmdebstrap")
        for name in ("apt/apt.conf.d/99mmdebstrap", "dpkg/dpkg.cfg.d/99mmdebstrap", "apt/sources.list"):
            (self.folder / "etc" / name).unlink(missing_ok=True)
        for path in (self.folder / "etc/apt/sources.list.d").glob("*main*"):
            path.unlink()
        self.write("etc/apt/sources.list.d/debian.sources", archive.deb822(suite))
        self._forget_itself()

    def _forget_itself(self) -> None:
        """Take out what would make every copy the same machine."""
        for path in (self.folder / "etc/ssh").glob("ssh_host_*"):
            path.unlink()
        for name in ("etc/hostname", "var/lib/dbus/machine-id", "var/lib/systemd/random-seed"):
            (self.folder / name).unlink(missing_ok=True)
        self.write("etc/machine-id", "")
        for log in ("var/log/dpkg.log", "var/log/bootstrap.log", "var/log/alternatives.log"):
            (self.folder / log).unlink(missing_ok=True)

    def run(self, *argv: str) -> None:
        """Run a program of the system in it."""
        self._run(["chroot", str(self.folder), *argv], "", argv[0])

    def enable(self, *units: str) -> None:
        """Have units start at boot."""
        self.run("systemctl", "enable", *units)

    def write(self, name: str, text: str, mode: int = 0o644) -> None:
        """Write a file of the system."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)

    def link(self, name: str, target: str) -> None:
        """Make a symbolic link in the system."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(target)

    def versions(self) -> str:
        """Every package and its version, a line each."""
        argv = ["dpkg-query", f"--admindir={self.folder}/var/lib/dpkg", "-W", "-f=${Package} ${Version}\n"]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout

    def kernel(self) -> str:
        """The release of the one kernel that it has."""
        found = sorted(path.name for path in (self.folder / "lib/modules").iterdir())
        if len(found) != 1:
            raise BuildError(f"expected one kernel in {self.folder}, found {', '.join(found) or 'none'}")
        return found[0]

    def remove(self) -> None:
        """Leave nothing of it."""
        with suppress(FileNotFoundError):
            shutil.rmtree(self.folder)

    def _run(self, argv: Sequence[str], given: str, name: str) -> None:
        with self._log.open("a", encoding="utf-8") as log:
            done = subprocess.run(
                argv,
                input=given,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                env=_ENVIRONMENT,
            )
        if done.returncode:
            lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
            said = [line for line in lines if line.startswith(("E:", "Err:"))] or lines
            raise BuildError(
                f"{name} failed: {' '.join(said[-4:]) or 'it said nothing'}; the log is {self._log}"
            )


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
