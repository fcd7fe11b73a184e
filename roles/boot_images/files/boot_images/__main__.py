# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role runs: `plan` says what has to be built and why, `build` builds it.

Both read the settings from standard input and answer in JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import image, network
from .errors import BuildError
from .outputs import Output, pack, unpack
from .settings import Settings
from .sources import Archive, archive
from .system import Workshop

_CODE = Path(__file__).resolve().parent.parent
# What an image of an operating system is made by; all else is about what boots from the network.
_OF_IMAGES = [f"boot_images/{name}.py" for name in ("image", "grub", "system", "sources", "outputs")]


@dataclass(frozen=True)
class Job:
    """Something that is built at once: its folders, and the key of all that goes into them."""

    name: str
    outputs: list[Output]
    key: str
    run: Callable[[Workshop, list[Path]], dict[str, Any]]

    @property
    def archive(self) -> str:
        return f"{self.name}-{self.key[:20]}.tar"

    def stale(self, settings: Settings) -> str:
        """Why it has to be built; empty: it has not."""
        return next(filter(None, (each.stale(self.key, settings.max_age_days) for each in self.outputs)), "")


def jobs(settings: Settings, sources: Archive) -> list[Job]:
    """All that the settings ask for."""
    code = {str(path.relative_to(_CODE)): path.read_text(encoding="utf-8") for path in _sources()}
    common = {"architecture": settings.architecture, "kernel": settings.kernel}
    arch = settings.architecture

    def net(shop: Workshop, parts: list[Path]) -> dict[str, Any]:
        return network.build(shop, *parts)

    def system(name: str) -> Callable[[Workshop, list[Path]], dict[str, Any]]:
        return lambda shop, parts: image.build(name, shop, *parts)

    made_of: dict[str, Any] = {"base": settings.base, "packages": settings.rescue_packages, "code": code}
    key = _key({**common, **made_of, "archive": sources.lines(settings.base)})
    names = (f"deploy/{arch}", f"rescue/{arch}")
    found = [Job(f"network-{arch}", [Output(settings.destination, name) for name in names], key, net)]
    for name in settings.systems:
        made_of = {"os": name, "packages": settings.packages, "code": [code[each] for each in _OF_IMAGES]}
        key = _key({**common, **made_of, "archive": sources.lines(name)})
        outputs = [Output(settings.destination, f"images/{name}-{arch}")]
        found.append(Job(f"{name}-{arch}", outputs, key, system(name)))
    return found


def _sources() -> list[Path]:
    return sorted(path for path in _CODE.rglob("*") if path.is_file() and path.suffix != ".pyc")


def _key(made_of: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()


def plan(settings: Settings, found: list[Job]) -> dict[str, Any]:
    """What has to be built, and by which name a cache knows it."""
    reasons = [(job, job.stale(settings)) for job in found]
    return {
        "stale": [{"name": job.name, "reason": why, "archive": job.archive} for job, why in reasons if why],
        "fresh": [job.name for job, why in reasons if not why],
    }


def build(settings: Settings, sources: Archive, found: list[Job]) -> dict[str, Any]:
    """Build what has to be, or take it from an archive that was brought here."""
    built = []
    for job in found:
        reason = job.stale(settings)
        if not reason:
            continue
        started = time.monotonic()
        archived = settings.state / "archives" / job.archive
        from_archive = archived.is_file() and unpack(job.outputs, archived, job.key, settings.max_age_days)
        if not from_archive:
            _run(settings, sources, job)
            if settings.keep_archives:
                archived.parent.mkdir(parents=True, exist_ok=True)
                pack(job.outputs, archived)
        built.append(
            {
                "name": job.name,
                "reason": reason,
                "archive": job.archive,
                "from_archive": from_archive,
                "seconds": round(time.monotonic() - started, 1),
                "bytes": sum(sum(output.manifest()["files"].values()) for output in job.outputs),
            }
        )
    return {"built": built}


def _run(settings: Settings, sources: Archive, job: Job) -> None:
    work = settings.state / "work" / job.name
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    log = settings.state / f"{job.name}.log"
    log.write_text("", encoding="utf-8")
    try:
        parts = [output.begin() for output in job.outputs]
        facts = job.run(Workshop(settings, sources, work, log), parts)
        described = {"architecture": settings.architecture, "settings": {"kernel": settings.kernel}, **facts}
        for output, part in zip(job.outputs, parts, strict=True):
            output.finish(part, {"name": output.name, "key": job.key, **described})
    finally:
        shutil.rmtree(work, ignore_errors=True)


def main() -> int:
    """Do what was asked for on the command line."""
    parser = argparse.ArgumentParser(prog="boot_images", description=__doc__)
    parser.add_argument("command", choices=["plan", "build"])
    arguments = parser.parse_args()
    try:
        settings = Settings.read(sys.stdin.read())
        sources = archive(settings.mirror, settings.security_mirror, settings.components, Path("/etc/apt"))
        found = jobs(settings, sources)
        answer = plan(settings, found) if arguments.command == "plan" else build(settings, sources, found)
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(answer, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
