# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the lab's Kubernetes comes from: its public home, a bundle, or one built from the Go modules now."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bundle import catalogue, places
from bundle import status as building
from bundle.probe import BUNDLE, MODULES, PUBLIC, probe_sources
from lab import paths
from lab.errors import InputError, LabError
from lab.process import wait_until
from lab.spec import GATEWAY

NONE = "none"
# A build of a minor took 11 to 18 minutes on two cores; past this it hangs.
BUILD_SECONDS = 3600


_TAKEN = {
    PUBLIC: "Kubernetes {minor} from its public home, about {minutes} minutes to fetch.",
    BUNDLE: "Kubernetes {minor} from the bundle, nothing to wait for.",
    MODULES: "Kubernetes {minor} is built from its published Go modules, about {minutes} minutes, once.",
}


@dataclass(frozen=True)
class Software:
    """The source that a run takes."""

    kind: str
    """`public`, `bundle`, `modules` (a bundle that is built first) or `none`."""
    minor: str
    text: str
    """For a person: which source, how long it takes, and why not one before it."""
    missing_packages: tuple[str, ...] = ()
    """Debian packages that this computer still needs for it."""

    @property
    def must_build(self) -> bool:
        """Whether a bundle has to be built for it."""
        return self.kind == MODULES

    def own_tests(self) -> Path | None:
        """Kubernetes' own tests as a program, `kubectl` beside it, where the bundle has them."""
        program = places.bundle_dir() / "bin" / f"v{self.minor}" / "e2e.test"
        return program if self.kind == BUNDLE and program.is_file() else None

    def without_own_tests(self) -> str:
        """Why they are not there, and what to type."""
        return (
            f"the bundle {places.bundle_dir()} does not hold Kubernetes' own tests: "
            f"./deploy.sh bundle --from modules --minor {self.minor} --with conformance"
        )

    def variables(self) -> dict[str, Any]:
        """What the roles are told; all else they need is in the inventory."""
        told: dict[str, Any] = {"artifacts_kubernetes_minor": self.minor}
        if self.kind in (BUNDLE, MODULES):
            told["artifacts_source"] = "bundle"
            told["artifacts_bundle_url"] = f"http://{GATEWAY}:8086"
            told["artifacts_wait"] = BUILD_SECONDS if self.must_build else 0
        else:
            told["artifacts_source"] = "public"
            told["artifacts_http_proxy"] = f"http://{GATEWAY}:3142"
            told["artifacts_no_proxy"] = (
                "localhost,127.0.0.1,10.77.0.0/24,10.96.0.0/12,10.244.0.0/16,.svc,.cluster.local"
            )
        if self.kind == NONE:
            told["prepare_probe"] = "late"  # what needs none is done first
        return told


def choose(wanted: str | None = None) -> Software:
    """Ask the sources in order and take the first that answers.

    wanted: `public`, `bundle`, `modules` or `none` to take that one without asking the others
    (KUBESTEAD_SOURCE says the same).
    """
    wanted = wanted or os.environ.get("KUBESTEAD_SOURCE") or "auto"
    if wanted not in ("auto", PUBLIC, BUNDLE, MODULES, NONE):
        raise InputError(f"KUBESTEAD_SOURCE={wanted}: expected auto, {PUBLIC}, {BUNDLE}, {MODULES} or {NONE}")
    known = catalogue.load()
    minor = os.environ.get("KUBESTEAD_KUBERNETES_MINOR") or known.default_minor
    if wanted == NONE:
        return Software(NONE, minor, "No Kubernetes software is asked for (KUBESTEAD_SOURCE=none).")
    tried: list[str] = []
    for source in probe_sources(minor, known.public_urls(minor), places.bundle_dir()):
        if wanted not in ("auto", source.name):
            continue
        if source.available:
            text = "\n".join([_TAKEN[source.name].format(minor=minor, minutes=round(source.minutes)), *tried])
            return Software(source.name, minor, text, source.missing_packages)
        tried.append(f"  not {source.name}: {source.reason}")
    return Software(NONE, minor, "\n".join(["No source of Kubernetes software can be reached:", *tried]))


def start_build(software: Software, folder: Path) -> subprocess.Popen[bytes]:
    """Build the bundle beside everything else; return when it has said that it is at work."""
    folder.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "bundle", "build", "--from", "modules", "--minor", software.minor],
        cwd=paths.checkout(),
        stdin=subprocess.DEVNULL,
    )

    def begun() -> bool:
        return process.poll() is not None or building.current(places.bundle_dir()).state in (
            building.BUILDING,
            building.READY,
        )

    wait_until(begun, 60)
    if process.poll():
        raise LabError("the bundle cannot be built; see its message above")
    return process
