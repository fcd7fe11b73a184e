# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The distributions' archives that a machine's apt uses, in apt's own words."""

from __future__ import annotations

from pathlib import Path
from typing import Callable
from urllib.parse import urlsplit

from .programs import Runner

# What `apt-get indextargets --format` is asked for, one line an index. Origin and label are signed.
FORMAT = "$(ORIGIN)\t$(LABEL)\t$(RELEASE)\t$(REPO_URI)"
_NAMES = {("Debian", "Debian"): "debian", ("Debian", "Debian-Security"): "debian-security"}
_LIST = "mirror+file:"


def _first_listed(uri: str, read: Callable[[str], str]) -> str:
    """A source may name a file that lists mirrors, the best first."""
    if not uri.startswith(_LIST):
        return uri
    try:
        lines = read("/" + uri[len(_LIST) :].strip("/")).splitlines()
    except OSError:
        return ""
    words = [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]
    return words[0] if words else ""


def archives(
    targets: str, read: Callable[[str], str] = lambda path: Path(path).read_text(encoding="utf-8")
) -> dict[str, str]:
    """The addresses of the archives by name; where there are several, the first."""
    found: dict[str, str] = {}
    for line in targets.splitlines():
        origin, label, release, given = (line.split("\t") + [""] * 3)[:4]
        uri = _first_listed(given, read).rstrip("/")
        if not uri.startswith(("http://", "https://")):
            continue
        name = _NAMES.get((origin, label), "")
        if (origin, label) == ("Ubuntu", "Ubuntu"):
            name = "ubuntu-ports" if uri.endswith("/ubuntu-ports") else "ubuntu"
            name += "-security" if release.endswith("-security") else ""
        if name:
            found.setdefault(name, uri)
    return found


def proxy_for_others(given: str) -> str:
    """apt's proxy, where others can use it too: not on this machine's loopback, without a password."""
    try:
        parts = urlsplit(given)
        port = parts.port
    except ValueError:
        return ""
    host = parts.hostname or ""
    if parts.scheme != "http" or not host or "@" in parts.netloc:
        return ""
    if host in ("localhost", "::1") or host.startswith("127."):
        return ""
    named = f"[{host}]" if ":" in host else host
    return f"http://{named}:{port}" if port else f"http://{named}"


class AptError(Exception):
    """apt cannot say it, in its own words."""


def ask(run: Runner) -> tuple[dict[str, str], str]:
    """Ask this machine's apt; returns the archives by name, and its proxy. Raises AptError."""
    targets = _said(run, "apt-get", "indextargets", "--format", FORMAT, "Created-By: Packages")
    proxy = _said(run, "apt-config", "dump", "--format", "%v%n", "--no-empty", "Acquire::http::Proxy")
    return archives(targets), proxy_for_others(proxy.splitlines()[0] if proxy.strip() else "")


def _said(run: Runner, *argv: str) -> str:
    code, out, err = run(argv)
    if code != 0:
        raise AptError(f"`{argv[0]} {argv[1]}` fails: {err.strip() or out.strip() or f'exit code {code}'}")
    return out
