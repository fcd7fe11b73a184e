# SPDX-License-Identifier: GPL-3.0-or-later
"""The Debian archive that this computer uses, read from apt's own settings; and apt itself."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from lab import lock
from lab.errors import HostError
from lab.process import run

# Labs are made side by side, and apt is one for the computer: for its lists it does not wait by itself.
LOCK = Path("/run/lock/kubestead-apt")
PATIENCE = "DPkg::Lock::Timeout=300"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_RELEASES = ("bullseye", "bookworm", "trixie", "forky", "oldstable", "stable", "testing", "sid", "unstable")
_SUITE = re.compile(rf"^({'|'.join(_RELEASES)})(-updates|-security|/updates)?$")
_ONE_LINE = re.compile(
    r"^deb\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<components>.+)$"
)
# Settings that say whether this computer accepts its archive: a node with the same archive needs the same.
_SETTINGS = ("Acquire::Check-Valid-Until", "Acquire::Check-Date", "Acquire::https::Verify-Peer")


@dataclass(frozen=True)
class Source:
    """One suite of one archive."""

    uri: str
    suite: str
    options: dict[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Return what follows the release's name: nothing, `-updates` or `-security`."""
        match = _SUITE.match(self.suite)
        return (match.group(2) or "").replace("/updates", "-security") if match else ""

    def one_line(self) -> str:
        """Return the source as a line of sources.list."""
        options = " ".join(f"{key}={value}" for key, value in self.options.items())
        return f"deb {f'[{options}] ' if options else ''}{self.uri} {self.suite} main"


def parse_one_line(text: str) -> list[Source]:
    """Read sources.list; only what is Debian's `main`."""
    sources = []
    for line in text.splitlines():
        match = _ONE_LINE.match(line.partition("#")[0].strip())
        if match and "main" in match["components"].split():
            options = dict(word.split("=", 1) for word in (match["options"] or "").split() if "=" in word)
            sources += _sources([match["uri"]], [match["suite"]], options)
    return sources


def parse_deb822(text: str) -> list[Source]:
    """Read a .sources file; only what is Debian's `main`."""
    sources = []
    for entry in _stanzas(text):
        if "deb" not in entry.get("types", "").split() or "main" not in entry.get("components", "").split():
            continue
        if entry.get("enabled", "yes").lower() in ("no", "false", "0", "off", "without", "disable"):
            continue
        options = {key: entry[key] for key in ("signed-by", "trusted") if entry.get(key, "").strip()}
        if "\n" in options.get("signed-by", ""):  # a key written into the file; Debian's own is in KEYRING
            options.pop("signed-by")
        sources += _sources(entry.get("uris", "").split(), entry.get("suites", "").split(), options)
    return sources


def _stanzas(text: str) -> Iterable[dict[str, str]]:
    for block in re.split(r"\n\s*\n", text):
        entry: dict[str, str] = {}
        key = ""
        for line in block.splitlines():
            if line.startswith("#"):
                continue
            if line[:1] in (" ", "\t") and key:
                entry[key] += "\n" + line.strip()
            elif ":" in line:
                name, _, value = line.partition(":")
                key = name.strip().lower()
                entry[key] = value.strip()
        if entry:
            yield entry


def _sources(uris: list[str], suites: list[str], options: dict[str, str]) -> list[Source]:
    kept = {key: value for key, value in options.items() if key in ("signed-by", "trusted")}
    return [Source(_plain(uri), suite, kept) for uri in uris[:1] for suite in suites if _SUITE.match(suite)]


def _plain(uri: str) -> str:
    """Debian's cloud images name a file that lists mirrors: take the first."""
    if uri.startswith("mirror+file:"):
        listed = Path(uri.removeprefix("mirror+file:").replace("//", "/"))
        lines = listed.read_text().split("\n") if listed.is_file() else []
        words = [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]
        uri = words[0] if words else uri
    return uri.rstrip("/")


def host_sources(folder: Path = Path("/etc/apt")) -> list[Source]:
    """Return every Debian suite that this computer's apt takes `main` from."""
    sources: list[Source] = []
    one_line = [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*.list"))]
    for path in one_line:
        if path.is_file():
            sources += parse_one_line(path.read_text())
    for path in sorted((folder / "sources.list.d").glob("*.sources")):
        sources += parse_deb822(path.read_text())
    return [source for source in sources if source.uri.startswith(("http://", "https://"))]


def sources_for(suite: str, known: list[Source] | None = None) -> list[Source]:
    """Return the sources of a Debian release from the archive that this computer uses."""
    mirror = os.environ.get("KUBESTEAD_DEBIAN_MIRROR", "").rstrip("/")
    if mirror:
        found = [Source(mirror, suite)]
        if security := os.environ.get("KUBESTEAD_DEBIAN_SECURITY_MIRROR", "").rstrip("/"):
            found.append(Source(security, f"{suite}-security"))
    else:
        by_kind: dict[str, Source] = {}
        for source in host_sources() if known is None else known:
            by_kind.setdefault(source.kind, replace(source, suite=suite + source.kind))
        found = [by_kind[kind] for kind in ("", "-updates", "-security") if kind in by_kind]
        if not found or found[0].kind:
            raise HostError(
                "apt on this computer has no source of Debian's `main` by http or https in "
                "/etc/apt/sources.list, sources.list.d/*.list or *.sources; "
                "set KUBESTEAD_DEBIAN_MIRROR to a mirror's address"
            )
    return [_signed(source) for source in found]


def _signed(source: Source) -> Source:
    if "signed-by" in source.options or source.options.get("trusted") == "yes":
        return source
    return replace(source, options={**source.options, "signed-by": KEYRING})


def settings() -> dict[str, str]:
    """Return apt's settings on this computer that also matter to who uses its archive."""
    known = dict(re.findall(r'^(\S+) "(.*)";$', run(["apt-config", "dump"]), re.MULTILINE))
    return {key: known[key] for key in _SETTINGS if known.get(key)}


def proxy() -> str:
    """Return the proxy that apt uses on this computer, or nothing."""
    said = run(["apt-config", "shell", "P", "Acquire::http::Proxy"])
    match = re.search(r"P='(http://[^']*)'", said)
    return match.group(1).rstrip("/") if match else os.environ.get("http_proxy", "").rstrip("/")


def install(packages: list[str]) -> None:
    """Install what this computer lacks, and say so."""
    if not packages:
        return
    with lock.held(LOCK, "apt", wait=True):
        print(f"Installing Debian packages: {' '.join(packages)}", flush=True)
        for words in (["update"], ["install", "--no-install-recommends", "--yes", *packages]):
            done = subprocess.run(
                ["apt-get", "-qq", "-o", PATIENCE, *words],
                check=False,
                capture_output=True,
                text=True,
                env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            )
            if done.returncode:
                raise HostError(f"apt-get {words[0]} failed: {done.stderr.strip()[-600:]}")
