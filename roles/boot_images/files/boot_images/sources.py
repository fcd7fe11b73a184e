# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian's archive as this machine's own apt has it: where it is, and how it is reached."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .errors import BuildError

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_LINE = re.compile(r"deb\s+(?:\[[^]]*\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<components>.+)")
_SUITE = re.compile(
    r"(?:bookworm|trixie|forky|oldstable|stable|testing|sid|unstable)(?P<kind>-updates|-security)?"
)
# Whether this machine takes its archive for good, and the way to it: true of what is built here as well.
_TAKEN_OVER = re.compile(
    r"Acquire::(?:Check-Valid-Until|Check-Date|https?::Proxy|https::Verify-Peer|https::CaInfo|Retries)"
)


@dataclass(frozen=True)
class Archive:
    """The addresses of Debian's archive, by what follows a release's name: nothing, -updates, -security."""

    mirrors: dict[str, str]
    components: tuple[str, ...]

    def lines(self, suite: str) -> list[str]:
        """The sources of a release, one a line; without what is only so on this machine."""
        words = " ".join(self.components)
        return [f"deb {uri} {suite}{kind} {words}" for kind, uri in sorted(self.mirrors.items())]

    def signed_lines(self, suite: str) -> list[str]:
        """The same for a program on this machine, which finds the archive's keys in KEYRING."""
        return [line.replace("deb ", f"deb [signed-by={KEYRING}] ", 1) for line in self.lines(suite)]

    def deb822(self, suite: str) -> str:
        """The same as a .sources file, for the built system."""
        return "\n".join(
            f"Types: deb\nURIs: {uri}\nSuites: {suite}{kind}\nComponents: {' '.join(self.components)}\n"
            f"Signed-By: {KEYRING}\n"
            for kind, uri in sorted(self.mirrors.items())
        )


def archive(mirror: str, security_mirror: str, components: tuple[str, ...], folder: Path) -> Archive:
    """Take the addresses that were given, or those of the apt configuration in `folder`."""
    if mirror:
        mirrors = {"": mirror.rstrip("/"), "-updates": mirror.rstrip("/")}
        if security_mirror:
            mirrors["-security"] = security_mirror.rstrip("/")
        return Archive(mirrors, components)
    mirrors = {}
    for uri, suite, known in _entries(folder):
        found = _SUITE.fullmatch(suite)
        if found and "main" in known and uri.startswith(("http://", "https://")):
            mirrors.setdefault(found["kind"] or "", uri.rstrip("/"))
    if "" not in mirrors:
        raise BuildError(
            f"apt on this machine ({folder}) has no source of Debian's `main` by http or https: "
            "set boot_images_mirror to the address of Debian's archive"
        )
    return Archive(mirrors, components)


def _entries(folder: Path) -> Iterator[tuple[str, str, list[str]]]:
    for path in (folder / "sources.list", *sorted((folder / "sources.list.d").glob("*.list"))):
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
            if found := _LINE.fullmatch(line.partition("#")[0].strip()):
                yield _address(found["uri"]), found["suite"], found["components"].split()
    for path in sorted((folder / "sources.list.d").glob("*.sources")):
        for entry in _stanzas(path.read_text(encoding="utf-8")):
            if entry.get("enabled", "yes").lower() in ("no", "false", "0") or not entry.get("uris"):
                continue
            if "deb" in entry.get("types", "").split():
                for suite in entry.get("suites", "").split():
                    yield _address(entry["uris"].split()[0]), suite, entry.get("components", "").split()


def _stanzas(text: str) -> Iterator[dict[str, str]]:
    for block in re.split(r"\n\s*\n", text):
        lines = [line for line in block.splitlines() if not line.startswith("#")]
        yield {
            name.strip().lower(): value.strip()
            for name, colon, value in (line.partition(":") for line in lines if line[:1] not in (" ", "\t"))
            if colon
        }


def _address(uri: str) -> str:
    """Debian's cloud images name a file that lists mirrors: take the first."""
    if uri.startswith("mirror+file:"):
        listed = Path("/" + uri.removeprefix("mirror+file:").lstrip("/"))
        lines = listed.read_text(encoding="utf-8").splitlines() if listed.is_file() else []
        return next((line.split()[0] for line in lines if line.strip() and line[0] != "#"), uri)
    return uri


def apt_options() -> list[str]:
    """This machine's settings of apt that the built system's apt needs while it is built."""
    said = subprocess.run(["apt-config", "dump"], check=True, capture_output=True, text=True).stdout
    return [line.rstrip(";") for line in said.splitlines() if _TAKEN_OVER.match(line) and '""' not in line]
