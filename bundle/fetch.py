# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
"""Makes a bundle from the public homes, or their mirrors: exactly what a list names, every piece checked."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from bundle import aptrepo, aptsource, assemble, lock, pack, places, registry, stamp
from bundle.catalogue import Versions
from bundle.errors import BuildFailedError, BundleError, WrongInputError
from bundle.oci import Layout
from bundle.stamp import Stamp
from bundle.status import BUILDING, FAILED, READY, Status, StatusFile
from bundle.web import Web

SUM = re.compile(r"^sha256:([0-9a-f]{64})$")
INTERRUPTED = "interrupted; the same command goes on where it was"
FIRST_SUM = re.compile(rb"^\s*([0-9a-f]{64})\b")


@dataclass(frozen=True)
class Repository:
    """A flat apt repository and what is taken from it: versions by package, "" for the newest."""

    url: str
    key: str
    packages: Mapping[str, str]


@dataclass(frozen=True)
class File:
    """A file and its checksum: ``sha256:SUM``, ``sha256:URL`` of a file that begins with it, or ""."""

    url: str
    path: str
    checksum: str = ""


@dataclass(frozen=True)
class Shopping:
    """What is to be in a bundle for one minor."""

    minor: str
    versions: Versions
    repositories: tuple[Repository, ...]
    images: tuple[str, ...]
    files: tuple[File, ...] = ()
    image_mirror: str = ""
    registry_mirrors: Mapping[str, list[str]] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Shopping:
        """Read the list, as the playbook ``bundle.yml`` writes it."""
        try:
            data = json.loads(text)
            known = {f.name: str(data["versions"][f.name]) for f in fields(Versions)}
            mirror = f"{data['binaries_mirror']}/"
            return cls(
                str(data["minor"]),
                Versions(**known),
                tuple(Repository(r["url"], r["key"], dict(r["packages"])) for r in data["repositories"]),
                tuple(dict.fromkeys(data["images"])),
                tuple(
                    File(f["url"], f"files/{f['url'].removeprefix(mirror)}", f.get("checksum") or "")
                    for f in data["files"]
                ),
                data.get("image_mirror") or "",
                data.get("registry_mirrors") or {},
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise WrongInputError(
                f"--list: is not what the playbook bundle.yml writes: {error!r}. Run the playbook instead."
            ) from error


def fetch(wanted: Shopping, folder: Path, architecture: str, tell: Callable[[str], None] = print) -> bool:
    """Put all that is listed into a bundle; returns whether anything had to be changed."""
    with lock.held(folder / places.LOCK, wait=True, tell=tell):
        status = StatusFile(folder / places.STATUS)
        try:
            changed = _Job(wanted, folder, architecture, status, tell).run()
        except (BundleError, OSError, KeyboardInterrupt) as error:
            status.write(Status(FAILED, "", str(error) or INTERRUPTED))
            raise
        status.write(Status(READY))
    return changed


class _Job:
    def __init__(
        self,
        wanted: Shopping,
        folder: Path,
        architecture: str,
        status: StatusFile,
        tell: Callable[[str], None],
    ) -> None:
        self.wanted, self.folder, self.architecture = wanted, folder, architecture
        self.status, self.tell = status, tell
        self.web = Web()
        self.layout = Layout(folder / "images")
        self.work = folder / places.BUILDING / wanted.minor
        self.known = stamp.known(folder, wanted.minor)

    def run(self) -> bool:
        """Fetch what is missing, then put everything in place."""
        before = assemble.read_manifest(self.folder)
        if before and before["architecture"] != self.architecture:
            raise WrongInputError(
                f"{self.folder}: holds software for {before['architecture']}, asked for is "
                f"{self.architecture}: choose another folder"
            )
        stamps = [self._packages(repository) for repository in self.wanted.repositories]
        stamps += [self._file(file) for file in self.wanted.files]
        stamps.append(self._kubectl(stamps[0]))
        copied = []
        for text in self.wanted.images:
            self._say(f"image {text}")
            mirrors = registry.Mirrors(self.wanted.image_mirror, self.wanted.registry_mirrors)
            copied.append(registry.Copier(self.web, self.layout, self.architecture, mirrors).copy(text))
            stamps.append(_image_stamp(text, copied[-1]["digest"]))
        minors = (before or {"minors": {}})["minors"]
        entry = minors.get(self.wanted.minor, {})
        if entry.get("parts") == [s.as_dict() for s in stamps] and entry.get("images") == copied:
            shutil.rmtree(self.folder / places.BUILDING, ignore_errors=True)
            return False
        self._say("putting the bundle together")
        content = assemble.Content(
            self.wanted.minor, self.wanted.versions, [], stamps, copied, self.architecture
        )
        assemble.finish(self.folder, content, aptrepo.SigningKey(places.cache_dir() / "keys" / "bundle"))
        shutil.rmtree(self.folder / places.BUILDING, ignore_errors=True)
        return True

    def _say(self, text: str) -> None:
        self.status.write(Status(BUILDING, text))
        self.tell(text)

    def _packages(self, repository: Repository) -> Stamp:
        self._say(f"packages {', '.join(repository.packages)} from {repository.url}")
        found = aptsource.offered(self.web, repository.url, repository.key)
        chosen, problems = [], []
        for name, version in repository.packages.items():
            package = aptsource.choose(found, name, version, self.architecture)
            if package:
                chosen.append(package)
            else:
                others = ", ".join(sorted({p.version for p in found if p.name == name}))
                text = f"{repository.url}: {' '.join((name, version)).strip()} is not there, "
                problems.append(text + (f"but {others}" if others else "nor another version of it"))
        if problems:
            raise BuildFailedError(*problems)
        name = f"packages-{next(iter(repository.packages))}"
        outputs = []
        for package in chosen:
            path = pack.apt_path(self.wanted.minor, self.architecture, package.url.rpartition("/")[2])
            outputs.append(self._get(name, package.url, path, package.sha256))
        sources = [{"address": p.url, "sha256": p.sha256} for p in chosen]
        return _stamp(name, chosen[0].version if chosen else "", sources, outputs)

    def _file(self, file: File) -> Stamp:
        name = f"file-{file.path.rpartition('/')[2]}"
        self._say(name)
        said = SUM.match(file.checksum)
        outputs = []
        if file.checksum and not said:
            beside = file.checksum.removeprefix("sha256:")
            text, _ = self.web.read(beside, 1 << 20)
            listed = FIRST_SUM.match(text)
            if not listed:
                raise BuildFailedError(f"{beside}: does not begin with a SHA-256")
            path = f"{file.path}{beside.removeprefix(file.url)}"
            outputs.append(self._get(name, beside, path, hashlib.sha256(text).hexdigest()))
            sha256 = listed[1].decode()
        else:
            sha256 = said[1] if said else ""
        outputs.insert(0, self._get(name, file.url, file.path, sha256))
        return _stamp(name, "", [{"address": file.url, "sha256": outputs[0].sha256}], outputs)

    def _kubectl(self, packages: Stamp) -> Stamp:
        """The operator's kubectl, out of the package."""
        path = f"bin/v{self.wanted.minor}/kubectl"
        deb = next((o for o in packages.outputs if "/kubectl_" in o.path), None)
        if deb is None:
            raise WrongInputError("--list: the first repository must give the package kubectl")
        name = "kubectl"
        sources = [s for s in packages.sources if s["sha256"] == deb.sha256]
        known = self.known.get(name)
        if known and known.sources == sources and (self.folder / path).is_file():
            return known
        staged = self.work / name / "outputs"
        (staged / path).parent.mkdir(parents=True, exist_ok=True)
        file = self.work / packages.name / "outputs" / deb.path
        root = self.work / "unpacked"
        shutil.rmtree(root, ignore_errors=True)
        command = ["dpkg-deb", "-x", str(file if file.is_file() else self.folder / deb.path), str(root)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode or not (root / "usr/bin/kubectl").is_file():
            raise BuildFailedError(f"{deb.path}: has no usr/bin/kubectl: {result.stderr.strip()}")
        shutil.copy2(root / "usr/bin/kubectl", staged / path)
        return _stamp(name, self.wanted.versions.kubernetes, sources, [stamp.output(staged, path)])

    def _get(self, part: str, url: str, path: str, sha256: str) -> stamp.Output:
        """A file of a part: the one that is there if it is the same, else fetched to where parts wait."""
        staged = self.work / part / "outputs"
        for root in (staged, self.folder):
            if sha256 and (root / path).is_file() and stamp.output(root, path).sha256 == sha256:
                return stamp.output(root, path)
        (staged / path).parent.mkdir(parents=True, exist_ok=True)
        partial = staged / f"{path}.part"
        with partial.open("wb") as file:
            self.web.save(url, file, sha256)
        partial.rename(staged / path)
        return stamp.output(staged, path)


def _stamp(name: str, version: str, sources: list[dict[str, str]], outputs: list[stamp.Output]) -> Stamp:
    digest = hashlib.sha256(json.dumps(sources, sort_keys=True).encode()).hexdigest()
    return Stamp(name, version, digest, sources, outputs=outputs)


def _image_stamp(text: str, digest: str) -> Stamp:
    sources = [{"image": text, "digest": digest}]
    return _stamp(f"image {text}", text.rpartition(":")[2], sources, [])
