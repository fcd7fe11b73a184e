# SPDX-License-Identifier: GPL-3.0-or-later
"""A Debian archive for an installer: that of this computer, and what it lacks of the installer's parts.

A copy of the archive may have the list of an installer's parts (udebs) and not all of the parts: ordinary
packages are what others ask for. Those that an installation on the lab's machines needs are made here of the
ordinary packages with the same content; the rest is left out of the list.
"""

from __future__ import annotations

import hashlib
import lzma
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from kubestead.model.debian_installer import SUITES, Source, run
from lab.proxy import Download, Store, cacheable

SUITE = "kubestead"
Stanza = Mapping[str, str]
#: Programs and libraries of e2fsprogs that partitioning uses.
_E2FSPROGS = {
    "e2fsprogs": ("sbin/", "etc/mke2fs.conf"),
    "libext2fs2t64": ("lib/",),
    "libcom-err2": ("lib/",),
    "libss2": ("lib/",),
}
#: Kernel modules by the part that has them.
_MODULES = {
    "ext4-modules": ("/ext4.ko", "/jbd2.ko", "/mbcache.ko", "/crc16.ko"),
    "scsi-modules": ("/virtio_blk.ko",),
    # Without them the partitioner stops, to say that there is no RAID and no LVM.
    "md-modules": ("/drivers/md/",),
}


class LackingError(Exception):
    """The archive lacks what cannot be made; the message names it."""


def kernel_of(image: Path) -> str:
    """The release of a kernel, as its file says it."""
    with image.open("rb") as stream:
        stream.seek(0x20E)
        stream.seek(0x200 + int.from_bytes(stream.read(2), "little"))
        return stream.read(256).split(b" ")[0].decode()


def _stanzas(text: str) -> list[dict[str, str]]:
    return [
        dict(re.findall(r"^([A-Za-z0-9-]+): (.*)$", block, re.MULTILINE))
        for block in text.split("\n\n")
        if block
    ]


def _is_there(url: str) -> bool:
    asked = urllib.request.Request(url, method="HEAD")
    for patience in (1, 5, 0):
        try:
            with urllib.request.urlopen(asked, timeout=60):
                return True
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return False
            problem: OSError = error
        except OSError as error:  # many at once: a name server may not answer all of them
            problem = error
        time.sleep(patience)
    raise LackingError(f"{url} cannot be asked for: {problem}")


@dataclass
class Parts:
    """The parts of a release's installer: those that the archive lacks, and those of them made here."""

    folder: Path
    archive: str
    release: str
    kernel: str
    lacking: tuple[str, ...] = ()
    made: tuple[str, ...] = ()

    def build(self, source: Source) -> None:
        """Write the list as a suite of its own, with what is made here of packages that `source` knows."""
        with urllib.request.urlopen(self._index, timeout=60) as answer:
            found = _stanzas(lzma.decompress(answer.read()).decode())
        wanted = [part for part in found if part.get("Kernel-Version", self.kernel) == self.kernel]
        with ThreadPoolExecutor(4) as pool:
            there = list(pool.map(lambda part: _is_there(f"{self.archive}/{part['Filename']}"), wanted))
        lacking = {
            part["Package"]: part for part, is_there in zip(wanted, there, strict=True) if not is_there
        }
        self.lacking = tuple(sorted(lacking))
        listed = [part for part, is_there in zip(wanted, there, strict=True) if is_there]
        made = [*self._modules(source, lacking), *self._e2fsprogs(source, lacking)]
        self.made = tuple(part["Package"] for part in made)
        self._write([*listed, *made])

    @property
    def _index(self) -> str:
        suite = SUITES[self.release]
        return f"{self.archive}/dists/{suite}/main/debian-installer/binary-amd64/Packages.xz"

    def _modules(self, source: Source, lacking: Mapping[str, Stanza]) -> Iterable[Stanza]:
        names = {f"{name}-{self.kernel}-di": modules for name, modules in _MODULES.items()}
        names = {name: modules for name, modules in names.items() if name in lacking}
        if not names:
            return
        tree = self._unpacked(source, f"linux-image-{self.kernel}")
        for name, modules in names.items():
            root = self.folder / "parts" / name
            for path in tree.rglob("*.ko*"):
                if any(module in str(path) for module in modules):
                    _put(path, root, path.relative_to(tree))
            yield self._pack(lacking[name], root, "#!/bin/sh\ndepmod -a || true\n")

    def _e2fsprogs(self, source: Source, lacking: Mapping[str, Stanza]) -> Iterable[Stanza]:
        if "e2fsprogs-udeb" not in lacking:
            return
        root = self.folder / "parts" / "e2fsprogs-udeb"
        for package, kept in _E2FSPROGS.items():
            tree = self._unpacked(source, package)
            for path in tree.rglob("*"):
                name = str(path.relative_to(tree)).removeprefix("usr/")
                if not path.is_dir() and name.startswith(kept):
                    _put(path, root, path.relative_to(tree))
        yield self._pack(lacking["e2fsprogs-udeb"], root)

    def _unpacked(self, source: Source, package: str) -> Path:
        tree = self.folder / "packages" / package
        if not tree.exists():
            tree.mkdir(parents=True)
            try:
                shown = run(["apt-cache", *source.options(), "show", "--no-all-versions", package])
                name = _stanzas(shown)[0]["Filename"]
                urllib.request.urlretrieve(f"{self.archive}/{name}", tree.with_suffix(".deb"))
            except (OSError, IndexError, KeyError) as error:
                raise LackingError(
                    f"{package}, of which a part can be made, is not there: {error}"
                ) from error
            run(["dpkg-deb", "--extract", str(tree.with_suffix(".deb")), str(tree)])
        return tree

    def _pack(self, part: Stanza, root: Path, script: str = "") -> Stanza:
        if not root.exists():
            raise LackingError(f"nothing was found for {part['Package']}")
        control = root / "DEBIAN"
        control.mkdir()
        kept = (
            "Package",
            "Version",
            "Architecture",
            "Maintainer",
            "Depends",
            "Provides",
            "Priority",
            "Section",
        )
        about = {key: part[key] for key in (*kept, "Kernel-Version") if key in part}
        about["Description"] = part.get("Description", "part of the installer")
        depends = part.get("Depends", "").split(", ")
        depends = [each for each in depends if each.split(" ")[0] not in self.lacking]
        # Of other kernel modules, which the installer has from its initrd, or which nobody needs here.
        about["Depends"] = ", ".join(each for each in depends if each) or f"kernel-image-{self.kernel}-di"
        (control / "control").write_text("".join(f"{key}: {value}\n" for key, value in about.items()))
        if script:
            (control / "postinst").write_text(script)
            (control / "postinst").chmod(0o755)
        name = f"pool/{SUITE}/{part['Package']}.udeb"
        file = self.folder / "www" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        run(["dpkg-deb", "--root-owner-group", "-Zxz", "--build", str(root), str(file)])
        data = file.read_bytes()
        about |= {"Filename": name, "Size": str(len(data))}
        return about | {"MD5sum": hashlib.md5(data, usedforsecurity=False).hexdigest(), "SHA256": _sum(data)}

    def _write(self, parts: Iterable[Stanza]) -> None:
        text = "\n".join("".join(f"{key}: {value}\n" for key, value in part.items()) for part in parts)
        place = self.folder / "www" / "dists" / SUITE
        index = place / "main" / "debian-installer" / "binary-amd64"
        index.mkdir(parents=True)
        (index / "Packages").write_text(text)
        subprocess.run(["gzip", "--keep", "--no-name", str(index / "Packages")], check=True)
        sums = ""
        for file in sorted(index.iterdir()):
            data = file.read_bytes()
            sums += f" {_sum(data)} {len(data)} {file.relative_to(place)}\n"
        (place / "Release").write_text(
            f"Origin: Debian\nLabel: Debian\nSuite: {SUITE}\nCodename: {SUITE}\nArchitectures: amd64\n"
            f"Components: main\nDescription: parts of an installer\nSHA256:\n{sums}"
        )


def _sum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _put(path: Path, root: Path, name: Path) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(path, root / name, follow_symlinks=False)


def make_server(address: tuple[str, int], archive: str, own: Path, cache: Path) -> ThreadingHTTPServer:
    """What serves `/debian`, once it is told to: files of `own`, else those of the archive.

    Those that cannot change are kept.
    """
    opener = urllib.request.build_opener()
    store = Store(cache, opener)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(True)

        def do_HEAD(self) -> None:
            self._answer(False)

        def _answer(self, body: bool) -> None:
            name = self.path.removeprefix("/debian/").partition("?")[0]
            file = (own / name).resolve()
            if file.is_relative_to(own.resolve()) and file.is_file():
                self._send(file.read_bytes(), body)
                return
            url = f"{archive}/{name}"
            try:
                self._send(self._kept(url) if cacheable(url) else self._fetched(url), body)
            except urllib.error.HTTPError as error:
                self.send_error(error.code)
            except OSError as error:
                self.send_error(502, str(error)[:100])

        def _kept(self, url: str) -> bytes:
            found = store.get(url)
            if isinstance(found, Download):
                data = b"".join(found.blocks())
                if found.error:
                    raise urllib.error.HTTPError(url, *found.error, hdrs=self.headers, fp=None)
                return data
            return found.read_bytes()

        def _fetched(self, url: str) -> bytes:
            with opener.open(url, timeout=60) as answer:
                return bytes(answer.read())

        def _send(self, data: bytes, body: bool) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if body:
                self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """The installer logs what it asks for."""

    return ThreadingHTTPServer(address, Handler)
