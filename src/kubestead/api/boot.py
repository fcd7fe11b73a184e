# SPDX-License-Identifier: GPL-3.0-or-later
"""The plain-HTTP port for firmware: boot files, and for each machine the script that says what to boot.

Firmware trusts nobody's certificate and has no password. So nothing secret is here, and no path of the API.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs

from fastapi import FastAPI
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from kubestead.model.boot_decision import BootFacts, decide, script
from kubestead.model.mac import normalise_mac

from .boot_files import READING, BootFiles
from .errors import problem
from .logs import request_context

log = logging.getLogger(__name__)

_SCRIPT = re.compile(r"/boot/([0-9A-Za-z.:-]{12,20})\.ipxe")
_STORE_SECONDS = 3.0  # firmware gives up soon; a store that is this slow is taken for one that is broken

#: Chains to the machine's own script; served unless the folder has a file of that name.
ENTRY = """#!ipxe
chain --autofree boot/${netX/mac:hexhyp}.ipxe?platform=${platform} ||
echo Kubestead: the boot server does not answer, booting the local disk
iseq ${platform} efi && exit ||
sanboot --no-describe --drive 0x80 || exit
"""


class BootApp:
    """The application on the boot port."""

    def __init__(self, files: BootFiles, facts: Callable[[str], BootFacts]) -> None:
        """Serve `files`; `facts` tells what is known of a machine, and may fail."""
        self._files, self._facts = files, facts
        # Threads of its own, so that a store that hangs does not keep files from being served.
        self._asking = ThreadPoolExecutor(2, "boot-facts")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        answer = await self._answer(scope)
        await answer(scope, receive, send)

    async def _answer(self, scope: Scope) -> ASGIApp:
        path, method = scope["path"], scope["method"]
        if method not in ("GET", "HEAD"):
            return problem(405, f"boot files are only read, not {method}", {"Allow": "GET, HEAD"})
        if (wanted := _SCRIPT.fullmatch(path)) is not None:
            return await self._script(scope, wanted.group(1))
        found = await asyncio.get_running_loop().run_in_executor(READING, self._files.find, path)
        if found is not None:
            return found
        if path == "/boot.ipxe":
            return _script_answer(ENTRY)
        return problem(404, f"there is no boot file {path}; the State API is on its own port")

    async def _script(self, scope: Scope, given: str) -> Response:
        try:
            mac = normalise_mac(given)
        except ValueError as error:
            return problem(404, str(error))
        if (context := request_context.get()) is not None:
            context.machine = mac
        facts: BootFacts | None = None
        try:
            async with asyncio.timeout(_STORE_SECONDS):
                facts = await asyncio.get_running_loop().run_in_executor(self._asking, self._facts, mac)
        except Exception:
            log.exception("it cannot be told what %s should boot: it boots its local disk", mac)
        decision = decide(facts)
        log.info("%s boots %s: %s", mac, decision.action, decision.reason, extra={"machine": mac})
        return _script_answer(script(mac, facts, _base(scope), _platform(scope)))


def facts_of(app: FastAPI) -> Callable[[str], BootFacts]:
    """Ask the State API's own registry and store."""

    def facts(mac: str) -> BootFacts:
        entry = app.state.registry.machine(mac)
        record = app.state.store.machine(mac)
        return BootFacts(
            registered=entry is not None,
            hostname=entry.hostname if entry else None,
            locked=bool(entry and entry.locked) or bool(record and record.locked),
            state=record.state if record else None,
            desired_install_id=record.desired_install_id if record else None,
            completed_install_id=record.completed_install_id if record else None,
            install_attempts=record.install_attempts if record else 0,
        )

    return facts


def _script_answer(text: str) -> Response:
    return PlainTextResponse(text, headers={"Cache-Control": "no-store"})


def _base(scope: Scope) -> str | None:
    host = next((value for name, value in scope["headers"] if name == b"host"), b"")
    return f"http://{host.decode('latin-1')}" if host else None


def _platform(scope: Scope) -> str | None:
    given = parse_qs(scope["query_string"].decode("latin-1")).get("platform")
    return given[-1] if given else None
