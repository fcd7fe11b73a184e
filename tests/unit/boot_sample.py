# SPDX-License-Identifier: GPL-3.0-or-later
"""Boot files and settings as a PXE server has them, enough for an installation to begin."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

SSH_KEY = (
    "ssh-ed25519 " + base64.b64encode(b"\0\0\0\x0bssh-ed25519" + b"\0\0\0\x20" + bytes(range(32))).decode()
)
BASE = "http://10.77.0.10"


def boot_folder(folder: Path) -> Path:
    """An image of Debian 13, the system that writes it, and the rescue system; nothing is in them."""
    for part in ("images/debian-13-amd64", "rescue/amd64", "deploy/amd64"):
        (folder / part).mkdir(parents=True)
    for part in ("images/debian-13-amd64", "rescue/amd64"):
        (folder / part / "system").touch()
        manifest = {"os": "debian-13", "architecture": "amd64", "files": {"system": 0}}
        (folder / part / "image.json").write_text(json.dumps(manifest))
    for name in ("vmlinuz", "initrd"):
        (folder / "deploy" / "amd64" / name).write_text(name)
    return folder


def boot_settings(path: Path, **more: Any) -> Path:
    """A file of settings."""
    values = {"base": BASE, "api_url": "https://10.77.0.10:8080", "ssh_keys": [SSH_KEY], **more}
    path.write_text(json.dumps(values))
    return path
