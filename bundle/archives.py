# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
"""Programs in an archive with its checksum beside it, as their projects publish them."""

from __future__ import annotations

import gzip
import hashlib
import tarfile
from pathlib import Path

from bundle.debpackage import EPOCH


def write(root: Path, path: str, member: str, program: Path) -> list[str]:
    """Write ``root / path`` with one program in it, and its ``.sha256sum``; returns both paths.

    The same program gives the same bytes.
    """
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    info = tarfile.TarInfo(member)
    info.mtime, info.mode, info.size = EPOCH, 0o755, program.stat().st_size
    with (
        target.open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.GNU_FORMAT) as tar,
        program.open("rb") as source,
    ):
        tar.addfile(info, source)
    with target.open("rb") as written:
        digest = hashlib.file_digest(written, "sha256").hexdigest()
    target.with_name(f"{target.name}.sha256sum").write_text(f"{digest}  {target.name}\n", encoding="utf-8")
    return [path, f"{path}.sha256sum"]
