# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Take secrets out of what is collected on a machine, before it leaves it.

Rather a word too many than one too few: a text that may be shown to a stranger is worth a missing word.
"""

from __future__ import annotations

import re
import typing as t

HIDDEN = "<hidden>"

_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"-----BEGIN ([A-Z0-9 ]*PRIVATE KEY)-----.*?(?:-----END \1-----|\Z)", re.DOTALL),
        r"<\1 hidden>",
    ),
    # a bootstrap token, and a JSON web token
    (re.compile(r"\b[a-z0-9]{6}\.[a-z0-9]{16}\b"), "<token>"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"), "<token>"),
    # A certificate key looks like the number of a container, which one wants to follow through the logs: its
    # beginning stays. Checksums are no secrets.
    (re.compile(r"(?<!sha256:)(?<!sha256-)\b([0-9a-f]{12})[0-9a-f]{52}\b"), r"\1…"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"), rf"\1 {HIDDEN}"),
    (re.compile(r"(?<=://)[^/\s:@]*:[^/\s@]*(?=@)"), HIDDEN),
    (
        re.compile(r"(?i)(--(?:[a-z-]*token|[a-z-]*password|certificate-key|[a-z-]*secret)[= ])[^\s\"']+"),
        rf"\1{HIDDEN}",
    ),
    # `password: x`, `"auth" = "x"`, `client-key-data: x`, `AccessKey=x`, in YAML, TOML, JSON and environments
    (
        re.compile(
            r"(?im)(\b[\w.-]*(?:password|passwd|passphrase|secret|token|api_?key|access_?key|key-data|"
            r"credentials?|\bauth)[\"']?\s*[:=]\s*)(?![{\[|>\s]|$)(?:\"[^\"\n]*\"|'[^'\n]*'|[^\s,;}]+)"
        ),
        rf"\1{HIDDEN}",
    ),
    # keepalived and HAProxy put a space between
    (re.compile(r"(?im)^(\s*(?:auth_pass|stats auth|(?:insecure-)?password)\s+)\S+"), rf"\1{HIDDEN}"),
)


def redact(text: str) -> str:
    """Return `text` without keys, tokens and passwords."""
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text


def redact_all(texts: t.Mapping[str, str]) -> dict[str, str]:
    """Return texts without secrets, by the same names."""
    return {name: redact(text) for name, text in texts.items()}
