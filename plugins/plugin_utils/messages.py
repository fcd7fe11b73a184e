# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a failed task says, in one plain message without secrets."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Mapping

_LIMIT = 2000
_LINES = 5
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")
_PREFIX = re.compile(r"^(?:(?:Task|Module|Action) failed: )+")
_SECRETS = (
    (re.compile(r"(?<=://)[^/\s:@]*:[^/\s@]*(?=@)"), "…"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"), r"\1 …"),
    (re.compile(r"\b[a-z0-9]{6}\.[a-z0-9]{16}\b"), "…"),  # kubeadm's join token
    (re.compile(r"(?i)(--(?:token|certificate-key|password)[= ])\S+"), r"\1…"),
    (
        re.compile(r"(?i)\b((?:password|passwd|secret|token|api_key)[\"']?\s*[=:]\s*)[\"']?[^\s\"',;]+"),
        r"\1…",
    ),
)

HIDDEN = "the task keeps its result to itself (no_log): it holds secrets"


def plain(text: str) -> str:
    """`text` without colours, control characters and what looks like a secret; shortened."""
    text = _CONTROL.sub("", text.replace("\r\n", "\n")).strip()
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text if len(text) <= _LIMIT else text[: _LIMIT - 1] + "…"


def failed_part(result: Mapping[str, t.Any]) -> Mapping[str, t.Any]:
    """The result that failed: that of the first failed item in a loop, else `result` itself."""
    for item in result.get("results") or ():
        if isinstance(item, Mapping) and (item.get("failed") or item.get("unreachable")):
            return item
    return result


def failure_message(result: Mapping[str, t.Any]) -> str:
    """The message of a failed result: the module's own, and the last lines of a failed command."""
    if "censored" in result:
        return HIDDEN
    part = failed_part(result)
    if "censored" in part:
        return HIDDEN
    said = part.get("msg", "")
    message = "\n".join(str(line) for line in said) if isinstance(said, (list, tuple)) else str(said)
    message = _PREFIX.sub("", message.strip())
    for key in ("stderr", "module_stderr", "stdout", "module_stdout"):
        lines = [line for line in str(part.get(key) or "").splitlines() if line.strip()]
        if lines:
            message = "\n".join([message, *lines[-_LINES:]]) if message else "\n".join(lines[-_LINES:])
            break
    return plain(message) or "the task failed without a message"
