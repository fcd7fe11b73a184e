# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
"""Fetches from package repositories, registries and web sites, through the proxies of the environment."""

from __future__ import annotations

import hashlib
import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from http.client import HTTPException
from typing import Any, BinaryIO, TypeVar

from bundle.errors import BuildFailedError, UnreachableError

SECONDS = 60.0
ATTEMPTS = 3
CHUNK = 1 << 20
T = TypeVar("T")
CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


class NotFoundError(BuildFailedError):
    """The address answers, and has no such thing."""


class Web:
    """A client that knows a registry's anonymous tokens."""

    def __init__(self) -> None:
        self._tokens: dict[str, str] = {}

    def read(
        self, url: str, limit: int = 64 << 20, *, area: str = "", headers: Mapping[str, str] | None = None
    ) -> tuple[bytes, Mapping[str, str]]:
        """A small answer and its headers. Addresses of one ``area`` share the token of a registry."""

        def take(response: Any) -> tuple[bytes, Mapping[str, str]]:
            data = response.read(limit + 1)
            if len(data) > limit:
                raise BuildFailedError(f"{url}: is larger than {limit >> 20} MiB, which is not expected")
            return data, dict(response.headers)

        return self._ask(url, area, headers or {}, take)

    def save(self, url: str, file: BinaryIO, sha256: str, *, area: str = "") -> int:
        """Write what is at an address into a file; returns the size. Without a sum, what comes is taken."""

        def take(response: Any) -> int:
            file.seek(0)
            file.truncate()
            digest, size = hashlib.sha256(), 0
            while chunk := response.read(CHUNK):
                digest.update(chunk)
                size += len(chunk)
                file.write(chunk)
            if sha256 and digest.hexdigest() != sha256:
                raise BuildFailedError(f"{url}: has the checksum {digest.hexdigest()}, expected {sha256}")
            return size

        return self._ask(url, area, {}, take)

    def _ask(self, url: str, area: str, headers: Mapping[str, str], take: Callable[[Any], T]) -> T:
        problem = ""
        for _ in range(ATTEMPTS):
            request = urllib.request.Request(url, headers={"User-Agent": "kubestead-bundle", **headers})
            if token := self._tokens.get(area):
                # Not sent on to where a registry redirects to.
                request.add_unredirected_header("Authorization", f"Bearer {token}")
            try:
                with urllib.request.build_opener().open(request, timeout=SECONDS) as response:
                    return take(response)
            except urllib.error.HTTPError as error:
                with error:
                    challenge = error.headers.get("WWW-Authenticate", "")
                if error.code == 401 and challenge.startswith("Bearer "):
                    self._tokens[area] = self._token(challenge)
                elif error.code < 500 and error.code != 429:
                    raise NotFoundError(f"{url}: answered {error.code} {error.reason}") from error
                problem = f"answered {error.code} {error.reason}"
            except (OSError, HTTPException, ValueError) as error:
                problem = str(getattr(error, "reason", None) or error)
        raise UnreachableError(f"{url}: {problem}")

    def _token(self, challenge: str) -> str:
        said = dict(CHALLENGE.findall(challenge))
        query = "&".join(f"{key}={said[key]}" for key in ("service", "scope") if key in said)
        data, _ = self.read(f"{said.get('realm', '')}?{query}", 1 << 20)
        answer = json.loads(data)
        return str(answer.get("token") or answer.get("access_token") or "")
