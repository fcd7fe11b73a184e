# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Two copies of one registry, the controller's and the live one: no push undoes an edit it has not seen."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import typing as t
from dataclasses import dataclass
from pathlib import Path

from .atomic import write_atomically
from .cache import default_cache
from .problems import RegistryError
from .registry_file import parse

SAME, PUSH, REFUSE = "same", "push", "refuse"
#: Beside the API's data: the fingerprint of the text that was pushed last.
PUSHED_MARK = "registry.pushed"
#: The fingerprint of an entry that is not there.
ABSENT = "absent"
_SHA256_LENGTH = 64


@dataclass(frozen=True)
class Decision:
    """What is to be done with a text that is to replace another."""

    action: str
    """`same`: nothing; `push`: replace it; `refuse`: what is there has changes not seen yet."""
    difference: str
    """The unified diff from what is there to the new text; empty for `same`."""
    base: str
    """The fingerprint that both sides agree on once that is done: what `remember_base` is to be given."""


def fingerprint(text: str) -> str:
    """The SHA-256 of a registry's text, in hexadecimal."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def entry_fingerprint(entry: t.Optional[t.Mapping[str, t.Any]]) -> str:
    """The SHA-256 of one machine's entry, whatever the order of its keys; ABSENT where there is none."""
    return ABSENT if entry is None else fingerprint(json.dumps(entry, sort_keys=True))


def decide(
    local_text: str,
    live_text: t.Optional[str],
    base_sha256: t.Optional[str],
    force: bool = False,
    *,
    names: t.Tuple[str, str] = ("live", "local"),
) -> Decision:
    """Decide whether the local text may replace the live one (None where there is none).

    base_sha256: the fingerprint of the text on which both last agreed, if that is known. With the two texts
    changed over (and `names`: what the diff calls the old and the new one) it decides about a pull.
    """
    if live_text is None:
        return Decision(PUSH, difference("", local_text, names), fingerprint(local_text))
    if live_text == local_text or _same_content(live_text, local_text):
        return Decision(SAME, "", fingerprint(live_text))
    seen = base_sha256 is not None and fingerprint(live_text) == base_sha256
    action = PUSH if seen or force else REFUSE
    return Decision(action, difference(live_text, local_text, names), fingerprint(local_text))


def difference(old: str, new: str, names: t.Tuple[str, str] = ("live", "local")) -> str:
    """The unified diff of two texts."""
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), *names, lineterm="")
    return "".join(f"{line}\n" for line in lines)


def _same_content(one: str, other: str) -> bool:
    """Whether two JSON registries say the same in the same order, however they are laid out."""
    try:
        first, second = parse(one, "registry.json"), parse(other, "registry.json")
    except RegistryError:
        return False
    if first.repeated or second.repeated:
        return False
    return json.dumps(first.pairs) == json.dumps(second.pairs)


def base_record(path: t.Union[str, os.PathLike[str]]) -> t.Optional[str]:
    """The fingerprint of the live text with which the registry at `path` last agreed; None when not known."""
    try:
        kept = json.loads(_record(path).read_text(encoding="utf-8"))
        sha256 = kept["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return sha256 if isinstance(sha256, str) and len(sha256) == _SHA256_LENGTH else None


def remember_base(path: t.Union[str, os.PathLike[str]], sha256: str) -> None:
    """Keep the fingerprint on which the registry at `path` and the live one now agree. Raises OSError."""
    content = {"path": os.path.realpath(os.fspath(path)), "sha256": sha256}
    write_atomically(_record(path), json.dumps(content) + "\n", 0o600, parents=True)


def _record(path: t.Union[str, os.PathLike[str]]) -> Path:
    real = os.path.realpath(os.fspath(path))
    return default_cache() / "registry" / f"{fingerprint(real)}.json"
