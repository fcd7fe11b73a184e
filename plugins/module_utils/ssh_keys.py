# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys that ssh offers to a host, as ssh itself says."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Sequence

_SECONDS = 10


class NoSshError(Exception):
    """ssh cannot be asked."""


def _said(command: Sequence[str]) -> tuple[int, str, str]:
    try:
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=_SECONDS,
        )
    except FileNotFoundError:
        raise NoSshError(f"{command[0]} is not on this computer: install openssh-client") from None
    except subprocess.TimeoutExpired:
        raise NoSshError(f"{command[0]} has not answered for {_SECONDS} s") from None
    return done.returncode, done.stdout, done.stderr


def _key(line: str) -> str:
    """A line of a `.pub` file or of the agent, if there is a key in it."""
    words = line.strip().split(" ", 2)
    return " ".join(words) if len(words) > 1 and words[1].startswith("AAAA") else ""


def _public_half(private: Path) -> str:
    public = private.with_name(f"{private.name}.pub")
    if public.is_file():
        return _key(public.read_text(encoding="utf-8", errors="replace"))
    if not private.is_file():
        return ""
    code, out, _err = _said(["ssh-keygen", "-y", "-P", "", "-f", str(private)])
    return _key(out) if code == 0 else ""


def offered_keys(host: str, words: Sequence[str] = (), private_key: str = "") -> list[str]:
    """The public keys, those of files first. `words` are further ones of ssh's command line."""
    chosen = ["-i", str(Path(private_key).expanduser()), "-o", "IdentitiesOnly=yes"] if private_key else []
    code, out, err = _said(["ssh", "-G", *chosen, *words, "--", host])
    if code:
        raise NoSshError(f"ssh cannot say which keys it has for {host}: {err.strip() or code}")
    settings: dict[str, list[str]] = {}
    for line in out.splitlines():
        name, _space, value = line.partition(" ")
        settings.setdefault(name, []).append(value)
    keys = [_public_half(Path(each).expanduser()) for each in settings.get("identityfile", [])]
    if settings.get("identitiesonly", ["no"]) != ["yes"]:
        code, out, _err = _said(["ssh-add", "-L"])
        keys += [_key(line) for line in out.splitlines()] if code == 0 else []
    return list(dict.fromkeys(key for key in keys if key))
