# SPDX-License-Identifier: GPL-3.0-or-later
"""A copy of the state store, taken while it is written to."""

from __future__ import annotations

import shutil
import tempfile
from datetime import datetime, timezone
from pathlib import Path

from fastapi import Request
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask

from kubestead.api.access import Section

from .common import store_of

section = Section("Backup")


@section.route(
    "GET",
    "/api/backup",
    allow=(),
    refuses=[503],
    content={"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
)
def get_backup(request: Request) -> FileResponse:
    """Give a consistent copy of the store, for `kubestead restore`; with all that machines have stored."""
    folder = Path(tempfile.mkdtemp(prefix="kubestead-backup-", dir=request.app.state.settings.data_dir))
    moment = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    copy = folder / "store"
    try:
        store_of(request).backup(copy)
    except BaseException:
        shutil.rmtree(folder)
        raise
    return FileResponse(
        copy,
        media_type="application/octet-stream",
        filename=f"kubestead-{moment}.backup",
        background=BackgroundTask(shutil.rmtree, folder),
    )
