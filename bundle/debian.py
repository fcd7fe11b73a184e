# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
"""What images need of Debian: nftables, iptables, certificates, busybox, from this computer's apt sources."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bundle import recipe
from bundle.errors import BuildFailedError, LacksError
from bundle.oci import Entry, Layer, Layout
from bundle.recipe import Furniture

# Drawn in by scripts that never run in an image.
NOT_NEEDED = ("debconf_", "perl-base_", "openssl_", "gcc-", "dpkg_", "tar_")
SKIPPED = re.compile(
    r"^usr/(share/(?!ca-certificates)|lib/[^/]+/(gconv|perl|perl-base)/|lib/systemd/|lib/(udev|init|tmpfiles\.d)/|"
    r"include/|lib/(tc|netns)/)|^etc/(init\.d|default|cron|logrotate\.d|pam\.d|kernel|bash_completion\.d)/"
)
MERGED = ("bin", "sbin", "lib", "lib64")
TABLES = ("iptables", "ip6tables", "arptables", "ebtables")
VERBS = ("", "-save", "-restore")
ALTERNATIVES = {f"{table}{verb}": "xtables-nft-multi" for table in TABLES for verb in VERBS}
SHELL = (
    "sh", "cat", "cp", "env", "grep", "ls", "mkdir", "mv", "ps", "rm", "sed", "sleep", "tail", "true",
)  # fmt: skip

USERS = """\
root:x:0:0:root:/root:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
nonroot:x:65532:65532:nonroot:/home/nonroot:/usr/sbin/nologin
"""
GROUPS = "root:x:0:\nnogroup:x:65534:\nnonroot:x:65532:\n"
NSSWITCH = "passwd: files\ngroup: files\nhosts: files dns\n"


@dataclass(frozen=True)
class Taken:
    """A Debian package that went into an image."""

    package: str
    version: str
    architecture: str
    sha256: str

    def as_dict(self) -> dict[str, str]:
        """As the manifest names a source."""
        return {
            "apt": self.package,
            "version": self.version,
            "architecture": self.architecture,
            "sha256": self.sha256,
        }


def layers(layout: Layout, work: Path) -> tuple[dict[str, Layer], list[Taken]]:
    """Make the three layers that images share; ``work`` keeps what was downloaded for a resumed build."""
    base = fetch(recipe.DEBIAN_BASE, work / "base", dependencies=False)
    tools = fetch(recipe.DEBIAN_TOOLS, work / "tools", dependencies=True)
    shell = fetch(recipe.DEBIAN_SHELL, work / "shell", dependencies=False)
    found = {
        "base": layout.put_layer(_base(unpack(base, work / "base-root"))),
        "tools": layout.put_layer(
            _tools(unpack(tools, work / "tools-root"), unpack(shell, work / "shell-root"))
        ),
        "shell": layout.put_layer(_shell(unpack(shell, work / "shell-root"))),
    }
    taken = {deb: _describe(deb) for deb in (*base, *tools, *shell)}
    unique = {(t.package, t.version): t for t in taken.values()}
    return found, [unique[key] for key in sorted(unique)]


def furnish(layout: Layout, furniture: Furniture, work: Path) -> tuple[Layer, list[Taken]]:
    """Make a layer that one part brings along."""
    entries = _skeleton()
    debs: list[Path] = []
    if furniture.debian:
        debs = fetch(furniture.debian, work / "debs", dependencies=True)
        root = unpack(debs, work / "root")
        if "busybox" in furniture.debian:
            entries |= _shell(root)  # below what has a program of its own
        entries |= _tree(root)
    entries |= {text.path: Entry(mode=0o644, data=text.text.encode()) for text in furniture.texts}
    entries |= {path: Entry(link=target) for path, target in furniture.links.items()}
    entries |= {path: Entry() for path in furniture.folders}
    return layout.put_layer(entries), [_describe(deb) for deb in debs]


def fetch(packages: Iterable[str], folder: Path, *, dependencies: bool) -> list[Path]:
    """Download packages (and what they need) with apt, from the sources and proxies that it is set up with.

    First with the package lists that the computer has; where those are missing or too old, with lists of
    our own, so that the computer's are left as they are.
    """
    wanted = list(packages)
    for lists in (None, folder.parent / "lists"):
        result = _download(wanted, folder, dependencies, lists)
        if result.returncode == 0:
            return sorted(p for p in folder.glob("*.deb") if not p.name.startswith(NOT_NEEDED))
    raise LacksError(
        f"apt could not download {', '.join(wanted)} from this computer's apt sources:\n  "
        + "\n  ".join(result.stderr.strip().splitlines()[-8:])
        + "\nCheck with 'apt-get update' that the Debian archive can be reached."
    )


def _download(
    wanted: list[str], folder: Path, dependencies: bool, lists: Path | None
) -> subprocess.CompletedProcess[str]:
    for made in (folder / "partial", *([lists / "partial"] if lists else [])):
        made.mkdir(parents=True, exist_ok=True)
    options = {
        "Dir::State::status": "/dev/null",
        "Dir::Cache::archives": str(folder),
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        "Debug::NoLocking": "1",
        "APT::Sandbox::User": "root",
        "APT::Install-Recommends": "0",
        "Acquire::Retries": "2",
    }
    if lists:
        options["Dir::State::lists"] = str(lists)
        _apt(
            ["update", "-qq"],
            {**options, "Acquire::http::Timeout": "20", "Acquire::https::Timeout": "20"},
            folder,
        )
    if dependencies:
        return _apt(["install", "--download-only", "--yes", "-qq", *wanted], options, folder)
    return _apt(["download", "-qq", *wanted], options, folder)


def _apt(arguments: list[str], options: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    flags = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    env = {**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(
        ["apt-get", *flags, *arguments], cwd=folder, env=env, capture_output=True, text=True, check=False
    )


def unpack(debs: Iterable[Path], root: Path) -> Path:
    """Unpack packages into one folder."""
    root.mkdir(parents=True, exist_ok=True)
    for deb in debs:
        result = subprocess.run(["dpkg-deb", "-x", deb, root], capture_output=True, text=True, check=False)
        if result.returncode:
            raise BuildFailedError(f"{deb}: cannot be unpacked: {result.stderr.strip()}")
    return root


def _describe(deb: Path) -> Taken:
    result = subprocess.run(
        ["dpkg-deb", "--show", "--showformat=${Package}\\n${Version}\\n${Architecture}", deb],
        capture_output=True,
        text=True,
        check=True,
    )
    name, version, architecture = result.stdout.split("\n")[:3]
    return Taken(name, version, architecture, hashlib.sha256(deb.read_bytes()).hexdigest())


def _skeleton() -> dict[str, Entry]:
    """Folders under their one true name, the old names as links: as on any Debian of today."""
    entries = {f"usr/{name}": Entry() for name in MERGED}
    return entries | {name: Entry(link=f"usr/{name}") for name in MERGED}


def _base(root: Path) -> dict[str, Entry]:
    certificates = sorted((root / "usr/share/ca-certificates/mozilla").glob("*.crt"))
    together = b"".join(c.read_bytes().rstrip() + b"\n" for c in certificates)
    return _skeleton() | {
        "tmp": Entry(mode=0o1777),
        "var/tmp": Entry(mode=0o1777),
        "run": Entry(),
        "var/run": Entry(link="../run"),
        "root": Entry(mode=0o700),
        "home/nonroot": Entry(),
        "etc/passwd": Entry(mode=0o644, data=USERS.encode()),
        "etc/group": Entry(mode=0o644, data=GROUPS.encode()),
        "etc/nsswitch.conf": Entry(mode=0o644, data=NSSWITCH.encode()),
        "etc/ssl/certs/ca-certificates.crt": Entry(mode=0o644, data=together),
    }


def _tree(root: Path) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if name.partition("/")[0] in MERGED:
            name = f"usr/{name}"
        if SKIPPED.search(name):
            continue
        if path.is_symlink():
            entries[name] = Entry(link=os.readlink(path))
        elif path.is_file():
            entries[name] = Entry(mode=path.stat().st_mode & 0o755, source=path)
    return entries


def _tools(root: Path, shell: Path) -> dict[str, Entry]:
    entries = _skeleton() | _tree(root)
    entries |= {f"usr/sbin/{name}": Entry(link=target) for name, target in ALTERNATIVES.items()}
    entries["usr/bin/busybox"] = Entry(source=_busybox(shell))
    return entries | {f"usr/bin/{name}": Entry(link="busybox") for name in SHELL}


def _shell(root: Path) -> dict[str, Entry]:
    busybox = _busybox(root)
    result = subprocess.run([busybox, "--list-full"], capture_output=True, text=True, check=True)
    applets = [line.removeprefix("usr/") for line in result.stdout.split()]
    links = {
        f"usr/{name}": Entry(link="busybox" if name.startswith("bin/") else "../bin/busybox")
        for name in applets
        if name.startswith(("bin/", "sbin/"))
    }
    return _skeleton() | links | {"usr/bin/busybox": Entry(source=busybox), "var/www": Entry()}


def _busybox(root: Path) -> Path:
    found = [root / path for path in ("bin/busybox", "usr/bin/busybox") if (root / path).is_file()]
    if not found:
        raise BuildFailedError(f"{root}: the package busybox-static holds no bin/busybox")
    return found[0]
