# SPDX-License-Identifier: GPL-3.0-or-later
"""The plain-HTTP port for firmware and installers: boot files, and for each machine what it is to boot.

Firmware trusts nobody's certificate and has no password. So no path of the API is here, and nothing secret
but the token of an attempt at an installation, which opens nothing but the report of that attempt.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar
from urllib.parse import parse_qsl

from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from kubestead.agent import scripts
from kubestead.installers import BootSettings, Form, SettingsError
from kubestead.model.boot_decision import GRUB, IPXE, LOCAL, decide, script
from kubestead.model.mac import normalise_mac
from kubestead.store import ConflictError, InstallReport, InstallTokenError, MachineRecord, StoreError

from .boot_files import READING, BootFiles
from .booting import NoAnswerError, Script, WrongReportError, details_of, report_of
from .errors import problem
from .limits import RateLimit
from .logs import request_context

log = logging.getLogger(__name__)

_MAC = r"[0-9A-Za-z.:-]{12,20}"
_SCRIPT = re.compile(rf"/boot/({_MAC})\.({IPXE}|{GRUB})")
_ANSWER = re.compile(rf"/boot/answers/({_MAC})/([A-Za-z0-9][A-Za-z0-9._-]{{0,63}})")
_REPORT, _LOG = "/boot/report", "/boot/log"
# Firmware, and a web server before this one, give up soon: a store that is this slow counts as broken.
_STORE_SECONDS = 6.0
_INSTALLER_SECONDS = 15.0  # installers ask again
LOG_LIMIT = 64 * 1024
_FORM_LIMIT = 64 * 1024
# What people look with: they are shown what the machine would boot, and no attempt is counted.
_PEOPLE = (b"curl/", b"wget/", b"mozilla/")

#: Chains to the machine's own script; served unless the folder has a file of that name.
ENTRY = """#!ipxe
chain --autofree --replace boot/${netX/mac:hexhyp}.ipxe?platform=${platform}&buildarch=${buildarch}\
&uuid=${uuid}&manufacturer=${manufacturer:uristring}&product=${product:uristring}\
&serial=${serial:uristring} ||
echo Kubestead: the boot server does not answer, booting the local disk
iseq ${platform} efi && exit 1 ||
sanboot --no-describe --drive 0x80 || exit
"""

Result = TypeVar("Result")


class Boots(Protocol):
    """Who decides, see `Booting`. Every call may fail, or hang."""

    def script(
        self,
        mac: str,
        form: Form,
        details: Mapping[str, str],
        *,
        preview: bool,
        wanted: Callable[[], bool],
        correlation_id: str | None,
    ) -> Script:
        """What a machine boots."""

    def answer(self, mac: str, name: str, *, preview: bool) -> str:
        """One of its answer files."""

    def report(self, secret: str, report: InstallReport) -> MachineRecord:
        """Record what its installer says."""

    def keep_log(self, secret: str, text: str) -> str:
        """Keep its installer's log."""

    def current_settings(self) -> BootSettings:
        """What all installations share."""


@dataclass
class _Asked:
    """One question about what to boot, until nobody waits for its answer any more."""

    patient: bool = field(default=True)

    def is_wanted(self) -> bool:
        return self.patient


class BootApp:
    """The application on the boot port."""

    def __init__(
        self, files: BootFiles, boots: Boots, rate: float, tell: Callable[[], None] = lambda: None
    ) -> None:
        """Serve `files` and what `boots` decides, `rate` times a second to one address.

        tell: called after something has changed in the store.
        """
        self._files, self._boots, self._tell = files, boots, tell
        # Threads of their own, so that a store that hangs does not keep files from being served.
        self._asking = ThreadPoolExecutor(2, "boot-scripts")
        self._installing = ThreadPoolExecutor(4, "boot-installers")
        self._limited = RateLimit(self._decided, rate)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if _is_decided(scope["path"]):
            await self._limited(scope, receive, send)
            return
        answer = await self._file(scope)
        await answer(scope, receive, send)

    async def _file(self, scope: Scope) -> ASGIApp:
        path, method = scope["path"], scope["method"]
        if method not in ("GET", "HEAD"):
            return _not_taken(method)
        loop = asyncio.get_running_loop()
        # Where a web server stands before this one, the folder is its /boot.
        for name in (path, path[len("/boot") :] if path.startswith("/boot/") else ""):
            found = await loop.run_in_executor(READING, self._files.find, name)
            if found is not None:
                return found
        if path == "/boot.ipxe":
            return _script_answer(ENTRY)
        ours = await loop.run_in_executor(READING, scripts.answer, path, self._boots.current_settings)
        if ours is not None:
            return PlainTextResponse(ours.text, ours.status, {"Cache-Control": "no-cache"})
        return problem(404, f"there is no boot file {path}; the State API is on its own port")

    async def _decided(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path == _REPORT:
            answer = await self._report(scope, receive)
        elif path == _LOG:
            answer = await self._log(scope, receive)
        elif scope["method"] not in ("GET", "HEAD"):
            answer = _not_taken(scope["method"])
        elif (wanted := _ANSWER.fullmatch(path)) is not None:
            answer = await self._answer(scope, *wanted.groups())
        else:
            answer = await self._script(scope, *path.removeprefix("/boot/").rsplit(".", 1))
        await answer(scope, receive, send)

    async def _script(self, scope: Scope, given: str, suffix: str) -> Response:
        form: Form = "grub" if suffix == GRUB else "ipxe"
        try:
            mac = normalise_mac(given)
        except ValueError as error:
            return problem(404, str(error))
        correlation_id = _names(mac)
        details, asked = details_of(_query(scope)), _Asked()
        preview = scope["method"] == "HEAD" or _is_person(scope)
        ask = partial(
            self._boots.script,
            mac,
            form,
            details,
            preview=preview,
            wanted=asked.is_wanted,
            correlation_id=correlation_id,
        )
        try:
            made = await self._in_time(self._asking, _STORE_SECONDS, ask)
        except Exception:
            asked.patient = False
            log.exception("it cannot be told what %s should boot: it boots its local disk", mac)
            doubt = decide(None)
            made = Script(
                script(mac, doubt, form=form, platform=details.get("platform")), LOCAL, doubt.reason
            )
        if made.changed:
            self._tell()
        verb = "would boot" if preview else "boots"
        log.info("%s %s %s: %s", mac, verb, made.action, made.reason, extra={"machine": mac})
        if preview:
            return _script_answer(made.text.replace("\n", "\n# a preview: nothing is counted\n", 1))
        return _script_answer(made.text)

    async def _answer(self, scope: Scope, given: str, name: str) -> Response:
        try:
            mac = normalise_mac(given)
        except ValueError as error:
            return _said(404, str(error))
        _names(mac)
        preview = scope["method"] == "HEAD"
        found = await self._for_installer(partial(self._boots.answer, mac, name, preview=preview))
        if isinstance(found, Response):
            return found
        log.info("%s has its %s", mac, name, extra={"machine": mac})
        return PlainTextResponse(found, headers={"Cache-Control": "no-store"})

    async def _report(self, scope: Scope, receive: Receive) -> Response:
        fields = _query(scope)
        if scope["method"] == "POST":
            body = await _body(receive, _FORM_LIMIT)
            if body is None:
                return _said(413, f"the report is too long: at most {_FORM_LIMIT} bytes")
            fields |= _fields(body.decode("utf-8", "replace"))
        elif scope["method"] != "GET":
            return _not_taken(scope["method"], "GET, POST")
        client, context = scope.get("client"), request_context.get()
        try:
            report = report_of(
                fields, client[0] if client else None, context.correlation_id if context else None
            )
        except WrongReportError as error:
            return _said(400, str(error))
        record = await self._for_installer(partial(self._boots.report, fields.get("token", ""), report))
        if isinstance(record, Response):
            return record
        _names(record.mac)
        log.info(
            "%s is %s (%s): %s",
            record.mac,
            report.state,
            report.phase or "no phase",
            report.message or "nothing more",
            extra={"machine": record.mac},
        )
        self._tell()
        return _said(200, "ok")

    async def _log(self, scope: Scope, receive: Receive) -> Response:
        if scope["method"] != "POST":
            return _not_taken(scope["method"], "POST")
        body = await _body(receive, LOG_LIMIT)
        if body is None:
            return _said(413, f"the log is too long: send its last {LOG_LIMIT} bytes")
        secret, text = _query(scope).get("token", ""), body.decode("utf-8", "replace")
        mac = await self._for_installer(partial(self._boots.keep_log, secret, text))
        if isinstance(mac, Response):
            return mac
        _names(mac)
        return _said(200, "ok")

    async def _for_installer(self, call: Callable[[], Result]) -> Result | Response:
        """What a call gives, or why it does not, in words for an installer's screen and log."""
        try:
            return await self._in_time(self._installing, _INSTALLER_SECONDS, call)
        except NoAnswerError as error:
            return _said(404, str(error))
        except InstallTokenError as error:
            return _said(403, str(error))
        except ConflictError as error:
            return _said(409, str(error))
        except (StoreError, SettingsError, TimeoutError) as error:
            reason = str(error) or "the state store does not answer"
            log.warning("an installer is asked to try again: %s", reason)
            return _said(503, f"try again: {reason}")

    async def _in_time(
        self, threads: ThreadPoolExecutor, seconds: float, call: Callable[[], Result]
    ) -> Result:
        async with asyncio.timeout(seconds):
            return await asyncio.get_running_loop().run_in_executor(threads, call)


def _is_decided(path: str) -> bool:
    return path in (_REPORT, _LOG) or bool(_SCRIPT.fullmatch(path) or _ANSWER.fullmatch(path))


def _is_person(scope: Scope) -> bool:
    agent = next((value for name, value in scope["headers"] if name == b"user-agent"), b"")
    return bool(agent.lower().startswith(_PEOPLE))


def _names(mac: str) -> str | None:
    """Let the log lines of this request name the machine; gives the request's id."""
    if (context := request_context.get()) is None:
        return None
    context.machine = mac
    return context.correlation_id


def _query(scope: Scope) -> dict[str, str]:
    return _fields(scope["query_string"].decode("latin-1"))


def _fields(text: str) -> dict[str, str]:
    """The fields of a query or a form; of one that is there twice, the last."""
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=50))
    except ValueError:
        return {}


async def _body(receive: Receive, limit: int) -> bytes | None:
    """A request's body; None if it is longer."""
    parts, length, more = [], 0, True
    while more:
        message: Any = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        length += len(parts[-1])
        if length > limit:
            return None
        more = message.get("more_body", False)
    return b"".join(parts)


def _script_answer(text: str) -> Response:
    return PlainTextResponse(text, headers={"Cache-Control": "no-store"})


def _said(status: int, text: str) -> Response:
    return PlainTextResponse(f"{text}\n", status, {"Cache-Control": "no-store"})


def _not_taken(method: str, taken: str = "GET, HEAD") -> Response:
    return problem(405, f"this is not for {method}, only for {taken}", {"Allow": taken})
