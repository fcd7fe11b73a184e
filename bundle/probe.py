# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
"""Which sources of Kubernetes software can be had from here: public homes, a bundle, Go modules."""

from __future__ import annotations

import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from bundle import assemble, catalogue, gotool, places, preflight, progress, recipe, status
from bundle.catalogue import PublicUrl
from bundle.errors import BundleError

PUBLIC = "public"
BUNDLE = "bundle"
MODULES = "modules"
SECONDS = 4.5
# What a lab needs beside the software itself.
PUBLIC_MINUTES = 2.0


@dataclass(frozen=True)
class SourceStatus:
    """Whether a source can be used, why (not), and how long it takes to have the software from it."""

    name: str
    available: bool
    reason: str
    minutes: float = 0.0
    missing_packages: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """As JSON has it."""
        return asdict(self)


def probe_sources(
    minor: str, public_urls: Iterable[PublicUrl] | None = None, bundle_dir: Path | None = None
) -> list[SourceStatus]:
    """Look at all sources at once; the answer comes within five seconds, in the order of preference.

    ``public_urls`` are the catalogue's unless given. Proxies are taken from the environment.
    """
    known = catalogue.load()
    urls = list(known.public_urls(minor) if public_urls is None else public_urls)
    folder = bundle_dir or places.bundle_dir()
    with ThreadPoolExecutor(max_workers=3) as pool:
        jobs = [
            pool.submit(_public, urls),
            pool.submit(_bundle, minor, folder),
            pool.submit(_modules, known, minor, folder),
        ]
        return [job.result() for job in jobs]


def best(found: Iterable[SourceStatus]) -> SourceStatus | None:
    """The first source that can be used."""
    return next((source for source in found if source.available), None)


def _public(urls: list[PublicUrl]) -> SourceStatus:
    with ThreadPoolExecutor(max_workers=max(1, len(urls))) as pool:
        problems = [problem for problem in pool.map(_ask, urls) if problem]
    if problems:
        return SourceStatus(PUBLIC, False, "; ".join(problems))
    return SourceStatus(PUBLIC, True, "all public addresses answer", PUBLIC_MINUTES)


def _ask(wanted: PublicUrl) -> str:
    """Why an address cannot be used; empty when it can."""
    request = urllib.request.Request(wanted.url, headers={"User-Agent": "kubestead-bundle"})
    try:
        # A new opener: the shared one remembers the proxies that there were when it was first used.
        with urllib.request.build_opener().open(request, timeout=SECONDS) as response:
            code = response.status
    except urllib.error.HTTPError as error:
        code = error.code
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        return f"{wanted.url}: {reason}"
    if code in wanted.statuses:
        return ""
    return f"{wanted.url}: answered {code}, expected {' or '.join(map(str, wanted.statuses))}"


def _bundle(minor: str, folder: Path) -> SourceStatus:
    manifest = assemble.read_manifest(folder)
    if manifest is None:
        said = status.current(folder)
        return SourceStatus(BUNDLE, False, f"{folder}: {said.progress or said.detail or said.state}")
    if minor not in manifest["minors"]:
        return SourceStatus(BUNDLE, False, f"{folder}: holds {', '.join(manifest['minors'])}, not {minor}")
    if manifest["architecture"] != gotool.architecture():
        return SourceStatus(BUNDLE, False, f"{folder}: is for {manifest['architecture']} machines")
    gone = [path for path, entry in manifest["files"].items() if not _is_there(folder / path, entry["size"])]
    if gone:
        more = f" and {len(gone) - 1} more" if len(gone) > 1 else ""
        return SourceStatus(
            BUNDLE, False, f"{folder}: {gone[0]}{more} missing or cut short: 'bundle verify' tells all"
        )
    version = manifest["minors"][minor]["kubernetes"]
    return SourceStatus(BUNDLE, True, f"{folder}: complete, Kubernetes {version}", 0.0)


def _is_there(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False


def _modules(known: catalogue.Catalogue, minor: str, folder: Path) -> SourceStatus:
    try:
        parts = recipe.parts(known.versions(minor))
        programs = [part.program for part in parts if part.program]
        expected = progress.expected(parts) / 60
        missing = tuple(gotool.missing_packages())
        go = gotool.find()
        if go is None:
            # What the proxy is, only the Go client knows: it is asked once it is there.
            return _to_install(missing, expected)
        env = gotool.settings(go)
        gotool.refuse_without_checks(env, preflight.module_paths(programs, minor))
        preflight.check_space(parts, gotool.caches(env, folder), folder)
        preflight.reach(go, *preflight.first_module(programs, minor), SECONDS)
    except BundleError as error:
        return SourceStatus(MODULES, False, " ".join(error.problems))
    if missing:
        return _to_install(missing, expected)
    return SourceStatus(MODULES, True, f"the Go module proxy answers ({go.path}, {go.text})", expected)


def _to_install(missing: tuple[str, ...], expected: float) -> SourceStatus:
    names = " ".join(missing)
    can = os.geteuid() == 0 or shutil.which("sudo") is not None
    return SourceStatus(MODULES, can, f"after 'apt-get install {names}'", expected, missing)
