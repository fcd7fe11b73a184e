# SPDX-License-Identifier: GPL-3.0-or-later
"""A copy of the state store, taken while it is written to."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import BinaryIO

from fastapi import HTTPException, Request
from fastapi.responses import StreamingResponse

from kubestead.api.access import Section

from .common import store_of

section = Section("Backup")

_PIECE = 256 * 1024


@section.route(
    "GET",
    "/api/backup",
    allow=(),
    refuses=[503],
    content={"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
)
def get_backup(request: Request) -> StreamingResponse:
    """Give a consistent copy of the store, for `kubestead restore`; with all that machines have stored."""
    try:
        with tempfile.TemporaryDirectory(
            prefix="kubestead-backup-", dir=request.app.state.settings.data_dir
        ) as folder:
            copy = Path(folder, "store")
            store_of(request).backup(copy)
            # Without a name from here on: nothing of it stays, however this ends.
            content = copy.open("rb")
    except OSError as error:
        raise HTTPException(503, f"a backup cannot be written on the API's host: {error.strerror}") from error
    moment = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    return StreamingResponse(
        _pieces(content),
        media_type="application/octet-stream",
        headers={
            "Content-Length": str(os.fstat(content.fileno()).st_size),
            "Content-Disposition": f'attachment; filename="kubestead-{moment}.backup"',
        },
    )


def _pieces(content: BinaryIO) -> Iterator[bytes]:
    with content:
        while piece := content.read(_PIECE):
            yield piece
