# SPDX-License-Identifier: GPL-3.0-or-later
"""The bearer token: read once, kept as a hash, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

from fastapi import HTTPException, Request

SHORTEST_TOKEN = 16


class TokenFileError(Exception):
    """The token file cannot be used; the message says why and what to do."""


class Token:
    """The one token that opens the API."""

    def __init__(self, text: str) -> None:
        """Remember the hash of `text`, not the text."""
        self._digest = hashlib.sha256(text.encode()).digest()

    @classmethod
    def from_file(cls, path: Path) -> Token:
        """Read the token from a file that only its owner and group may read."""
        try:
            mode = path.stat().st_mode
            text = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise TokenFileError(f"the token file {path} cannot be read: {error}") from error
        if mode & 0o007:
            raise TokenFileError(f"the token file {path} can be read by everyone: chmod 0600 {path}")
        if len(text) < SHORTEST_TOKEN or not text.isascii() or not text.isprintable() or " " in text:
            raise TokenFileError(
                f"the token file {path} holds no token: "
                f"expected one word of at least {SHORTEST_TOKEN} ASCII characters"
            )
        return cls(text)

    def matches(self, text: str) -> bool:
        """Tell whether `text` is the token."""
        return hmac.compare_digest(
            hashlib.sha256(text.encode(errors="surrogateescape")).digest(), self._digest
        )


def require_token(request: Request) -> None:
    """Refuse a request without the token."""
    scheme, _, presented = request.headers.get("authorization", "").partition(" ")
    if not presented:
        detail = "this needs the API's token: send the header `Authorization: Bearer TOKEN`"
    elif scheme.lower() != "bearer" or not request.app.state.token.matches(presented.strip()):
        detail = "the token is not this API's: compare it with the one on the API's host"
    else:
        return
    raise HTTPException(401, detail, headers={"WWW-Authenticate": "Bearer"})
