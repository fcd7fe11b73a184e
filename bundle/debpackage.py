# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
"""Makes Debian packages from built programs."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from bundle.errors import BuildFailedError
from bundle.recipe import Package

# One date for everything in a bundle, so that the same input gives the same bytes.
EPOCH = 1577836800
MAINTAINER = "Kubestead <kubestead@kubestead.invalid>"

_POSTINST = """\
#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
fi
"""


def filename(package: Package, architecture: str) -> str:
    """The name of a package's file."""
    return f"{package.name}_{package.version}_{architecture}.deb"


def build(package: Package, binary: Callable[[str], Path], architecture: str, folder: Path) -> Path:
    """Write the package into a folder and return its path; ``binary`` finds a built program by name."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / filename(package, architecture)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        root = Path(temporary) / "root"
        for name, path in package.programs.items():
            _copy(binary(name), root / path)
        for text in package.texts:
            _write(root / text.path, text.text, 0o755 if text.path.startswith("usr/bin/") else 0o644)
        for path in package.folders:
            (root / path).mkdir(parents=True, exist_ok=True)
        _control(package, root, architecture)
        for folder_ in (root, *(p for p in root.rglob("*") if p.is_dir())):
            folder_.chmod(0o755)
        result = subprocess.run(
            ["dpkg-deb", "--root-owner-group", "-Zzstd", "-z1", "--build", str(root), f"{temporary}/out.deb"],
            env={**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH)},
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode:
            raise BuildFailedError(f"{target.name}: dpkg-deb failed: {result.stderr.strip()}")
        os.replace(f"{temporary}/out.deb", target)
    return target


def _control(package: Package, root: Path, architecture: str) -> None:
    files = sorted(p for p in root.rglob("*") if p.is_file())
    size = sum(f.stat().st_size for f in files) // 1024 + 1
    fields = {
        "Package": package.name,
        "Version": package.version,
        "Architecture": architecture,
        "Maintainer": MAINTAINER,
        "Installed-Size": str(size),
        "Depends": ", ".join(package.depends),
        **package.relations,
        "Section": "admin",
        "Priority": "optional",
        "Homepage": package.homepage or "https://kubernetes.io",
        "Description": f"{package.description}\n Built by Kubestead from the published Go module.",
    }
    text = "".join(f"{key}: {value}\n" for key, value in fields.items() if value)
    _write(root / "DEBIAN/control", text)
    sums = "".join(f"{_md5(f)}  {f.relative_to(root)}\n" for f in files)
    _write(root / "DEBIAN/md5sums", sums)
    if package.conffiles:
        _write(root / "DEBIAN/conffiles", "".join(f"{path}\n" for path in package.conffiles))
    if package.reload_systemd:
        _write(root / "DEBIAN/postinst", _POSTINST, 0o755)


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o755)
    os.utime(target, (EPOCH, EPOCH))


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
