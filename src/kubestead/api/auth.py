# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is calling: the token of the token file, or one of the store's. Only hashes are kept and compared."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import time
from collections import deque
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from fastapi import HTTPException

from kubestead.store import StoreUnavailableError, TokenRecord
from kubestead.store.store import TOKEN_MEMORY_SECONDS

log = logging.getLogger(__name__)

Scope = Literal["operator", "read", "machine", "install"]
OPERATOR: Scope = "operator"  # may do everything
READ: Scope = "read"  # may look
MACHINE: Scope = "machine"  # may do what one machine needs, and only for that machine
INSTALL: Scope = "install"  # may exchange itself, once: the store decides, nothing is remembered of it

HOST = "host"  # the name of the token in the token file
SHORTEST_TOKEN = 16
# What another process has revoked is refused here after that long at the latest.
TRUSTED_SECONDS = 2.0
_LOOK_SECONDS = 1.0
_ASK_AGAIN_SECONDS = 60.0  # to twice that: so that the store knows about when a token was used last
_AT_ONCE = 50
_REMEMBERED = 20_000
_STORED_PREFIXES = ("kso_", "ksr_", "ksm_")
_INSTALL_PREFIX = "ksi_"


class TokenFileError(Exception):
    """The token file cannot be used; the message says why and what to do."""


class Token:
    """The token of the token file, which opens everything."""

    def __init__(self, text: str) -> None:
        """Remember the hash of `text`, not the text."""
        self._digest = _digest(text)

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
        return self.has_digest(_digest(text))

    def has_digest(self, digest: bytes) -> bool:
        """Tell whether this is the token's hash."""
        return hmac.compare_digest(digest, self._digest)


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever has sent a request: the name and scope of the token, and the machine that it is bound to."""

    name: str
    scope: Scope
    mac: str | None = None
    digest: bytes | None = None  # of a token of the store
    install_id: str | None = None  # the installation from which a machine has its token

    def may_act_for(self, mac: str) -> bool:
        """Tell whether the token's binding, if it has one, allows to act for the machine `mac`."""
        return self.scope != MACHINE or self.mac == mac

    def must_act_for(self, mac: str) -> None:
        """Refuse a machine that acts for another."""
        if not self.may_act_for(mac):
            raise forbidden(f"this token is the machine {self.mac}'s own: it opens nothing of {mac}")


OF_HOST = Caller(HOST, OPERATOR)


class TokenStore(Protocol):
    """What is needed of the store."""

    def find_token(self, secret: str) -> TokenRecord | None:
        """The record of a token, by its secret."""

    def tokens(self) -> Iterable[TokenRecord]:
        """The records of all tokens."""


@dataclass(slots=True)
class _Known:
    caller: Caller
    record: TokenRecord
    seen: float  # when the table said so
    ask_again: float  # when it is to be looked up by itself again


class Doorkeeper:
    """Tells who a token belongs to.

    A token of the store is looked up once, and then trusted for as long as the store is seen to keep it:
    those that are remembered are compared with the table every second, all at once. The token of the token
    file needs no table, so it opens also where the store is empty or broken.
    """

    def __init__(self, host: Token, store: TokenStore) -> None:
        """Know the token of the token file, and where the others are."""
        self._host = host
        self._store = store
        self._known: dict[bytes, _Known] = {}
        self._generation = 0
        # A thousand machines that come at once after a start must not stand in line for a thread each, behind
        # one another and before the look at the table that lets the others in.
        self._thread = ThreadPoolExecutor(1, "doorkeeper")
        self._unknown: deque[tuple[str, asyncio.Future[TokenRecord | None]]] = deque()
        self._finding: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None

    def at_once(self, header: bytes) -> Caller | None:
        """Who sends this Authorization header, if that is known without asking the store; else None."""
        if header[:7].lower() != b"bearer ":
            return None
        digest = hashlib.sha256(header[7:].strip()).digest()
        if self._host.has_digest(digest):
            return OF_HOST
        known = self._known.get(digest)
        if known is None or time.monotonic() - known.seen >= TRUSTED_SECONDS:
            return None
        return known.caller if known.record.condition == "valid" else None

    async def identify(self, header: bytes) -> Caller:
        """Who sends this Authorization header; HTTPException 401 says why it does not count."""
        if (caller := self.at_once(header)) is not None:
            return caller
        scheme, _, presented = header.decode("latin-1").partition(" ")
        secret = presented.strip()
        if not secret:
            raise unauthorised("this needs an API token: send the header `Authorization: Bearer TOKEN`")
        if scheme.lower() != "bearer":
            raise unauthorised("send the token as `Authorization: Bearer TOKEN`", "invalid_request")
        if self._host.matches(secret):
            return OF_HOST
        if secret.startswith(_INSTALL_PREFIX):
            raise forbidden("the token of an installation opens nothing but /api/exchange")
        record = await self._look_up(secret) if secret.startswith(_STORED_PREFIXES) else None
        if record is None:
            raise unauthorised(
                "the token is not this API's: compare it with the one on the API's host, or have one made by "
                "`kubestead token create`",
                "invalid_token",
            )
        if record.condition != "valid":
            when = record.revoked_at if record.condition == "revoked" else record.expires_at
            since = f" since {when:%Y-%m-%d %H:%M} UTC" if when else ""
            raise unauthorised(
                f'the token "{record.name}" is {record.condition}{since}: '
                "have a new one made by `kubestead token create`",
                "invalid_token",
            )
        return _caller(record, _digest(secret))

    def still_valid(self, caller: Caller) -> bool:
        """Tell whether a caller that was let in would be let in again, by what is known here."""
        if caller.digest is None:
            return True
        known = self._known.get(caller.digest)
        return known is not None and known.record.condition == "valid"

    def forget(self) -> None:
        """Ask the store again about every token: one was revoked."""
        self._generation += 1
        self._known.clear()

    async def run(self) -> None:
        """Compare what is remembered with the store's table, for ever."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if self._known:
                await self.look_again()

    async def look_again(self) -> None:
        """Compare what is remembered with the store's table once."""
        asked, generation = time.monotonic(), self._generation
        try:
            records = await asyncio.get_running_loop().run_in_executor(self._thread, self._table)
        except StoreUnavailableError:
            return  # what is remembered goes stale, and is looked up by itself
        if generation != self._generation:
            return
        for digest, known in list(self._known.items()):
            record = records.get(known.record.id)
            if record is None or asked > known.ask_again:
                del self._known[digest]
            else:
                known.record, known.seen = record, asked

    async def _look_up(self, secret: str) -> TokenRecord | None:
        digest = _digest(secret)
        if digest in self._known:
            # It has gone stale, and so have the others: one look at the table serves all who come meanwhile.
            if self._looking is None:
                self._looking = asyncio.create_task(self._look_for_all())
            await asyncio.shield(self._looking)
            known = self._known.get(digest)
            if known is not None and time.monotonic() - known.seen < TRUSTED_SECONDS:
                return known.record
        answer: asyncio.Future[TokenRecord | None] = asyncio.get_running_loop().create_future()
        self._unknown.append((secret, answer))
        if self._finding is None:
            self._finding = asyncio.create_task(self._find_unknown())
        return await answer

    async def _look_for_all(self) -> None:
        try:
            await self.look_again()
        finally:
            self._looking = None

    async def _find_unknown(self) -> None:
        """Look up those who wait, some at a time."""
        loop = asyncio.get_running_loop()
        try:
            while self._unknown:
                batch = [self._unknown.popleft() for _ in range(min(len(self._unknown), _AT_ONCE))]
                asked, generation = time.monotonic(), self._generation
                secrets = [secret for secret, _answer in batch]
                found = await loop.run_in_executor(self._thread, self._find, secrets)
                for (secret, answer), record in zip(batch, found, strict=True):
                    if isinstance(record, TokenRecord) and generation == self._generation:
                        self._remember(secret, record, asked)
                    if answer.done():  # whoever asked has gone
                        continue
                    if isinstance(record, Exception):
                        answer.set_exception(record)
                    else:
                        answer.set_result(record)
        finally:
            self._finding = None

    def _remember(self, secret: str, record: TokenRecord, asked: float) -> None:
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        digest = _digest(secret)
        # The store may have remembered it for a while itself.
        seen = asked - TOKEN_MEMORY_SECONDS
        # Not all of those who came together are asked for together again.
        ask_again = asked + _ASK_AGAIN_SECONDS * (1 + digest[0] / 256)
        self._known[digest] = _Known(_caller(record, digest), record, seen, ask_again)

    def _find(self, secrets: list[str]) -> list[TokenRecord | Exception | None]:
        return [self._find_one(secret) for secret in secrets]

    def _find_one(self, secret: str) -> TokenRecord | Exception | None:
        try:
            return self._store.find_token(secret)
        except Exception as error:  # whatever it is, whoever asked is told, and the others are not
            return error

    def _table(self) -> dict[int, TokenRecord]:
        return {each.id: each for each in self._store.tokens()}


def secret_of(header: bytes) -> str:
    """The secret in an Authorization header, empty where there is none."""
    scheme, _, secret = header.decode("latin-1").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""


def installer(header: bytes) -> Caller | None:
    """Whoever sends what looks like the token of an installation; whether it is one, the store says."""
    return Caller("installer", INSTALL) if secret_of(header).startswith(_INSTALL_PREFIX) else None


def forbidden(detail: str) -> HTTPException:
    """The refusal of a caller who is known and may not do this."""
    return HTTPException(403, detail, headers={"WWW-Authenticate": 'Bearer error="insufficient_scope"'})


def unauthorised(detail: str, kind: str = "") -> HTTPException:
    """The refusal of a caller who is not known."""
    challenge = f'Bearer error="{kind}"' if kind else "Bearer"
    return HTTPException(401, detail, headers={"WWW-Authenticate": challenge})


def _caller(record: TokenRecord, digest: bytes) -> Caller:
    scope: Scope = MACHINE if record.scope == MACHINE else OPERATOR if record.scope == OPERATOR else READ
    return Caller(record.name, scope, record.mac, digest, record.install_id)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
