# SPDX-License-Identifier: GPL-3.0-or-later
"""What machines are given to boot and to be installed with, and what their installers say: without HTTP.

Whatever is in doubt, a machine boots its local disk, and no attempt at its installation is counted.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from kubestead import installers
from kubestead.installers import (
    BootSettings,
    Form,
    InstallPlan,
    NoInstallerError,
    SettingsError,
    SettingsFile,
)
from kubestead.model.boot_decision import (
    INSTALL,
    LOCAL,
    LOCAL_BOOT,
    MENU,
    PLATFORMS,
    RESCUE_SYSTEM,
    Decision,
    decide,
    script,
)
from kubestead.model.lifecycle import RESCUE
from kubestead.model.machine import Machine
from kubestead.store import ConflictError, InstallReport, MachineRecord, Store
from kubestead.store.installations import facts_of, why_no_answers
from kubestead.store.tokens import digest, new_secret
from kubestead.store.transactions import moment_now

from .live_registry import LiveRegistry

log = logging.getLogger(__name__)

RESCUE_ANSWER = "rescue.env"
LONGEST_DETAIL = 128
LONGEST_MESSAGE = 4096
_WORD = re.compile(r"[a-z0-9_]{1,16}")
_NUMBER = re.compile(r"[0-9]{1,9}")
_UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_PRINTED = ("manufacturer", "product", "serial")
# What firmware of each kind calls itself: iPXE for a BIOS is i386, whatever the processor can do.
_BUILDS: Mapping[str, frozenset[str]] = {
    "amd64": frozenset({"i386", "x86_64"}),
    "arm64": frozenset({"arm64"}),
}
_REPORTED = ("installing", "installed", "failed")


class NoAnswerError(Exception):
    """There is no such answer for this machine now; the text says why."""


class WrongReportError(ValueError):
    """A report that says nothing; the text says what was expected."""


@dataclass(frozen=True)
class Script:
    """What a machine is told, and what that is."""

    text: str
    action: str
    reason: str
    changed: bool = False  # the books were changed


def details_of(query: Mapping[str, str]) -> dict[str, str]:
    """What firmware says of itself and of its machine, as far as it is what it should be."""
    found = {}
    if (platform := query.get("platform")) in PLATFORMS:
        found["platform"] = str(platform)
    if _WORD.fullmatch(query.get("buildarch", "")):
        found["buildarch"] = query["buildarch"]
    if _UUID.fullmatch(query.get("uuid", "")):
        found["uuid"] = query["uuid"].lower()
    for name in _PRINTED:
        text = " ".join("".join(c if c.isprintable() else " " for c in query.get(name, "")).split())
        if text:
            found[name] = text[:LONGEST_DETAIL]
    return found


def report_of(fields: Mapping[str, str], address: str | None, correlation_id: str | None) -> InstallReport:
    """What an installer says. A message that is too long is cut: an installer cannot say it again shorter."""
    state = fields.get("state", "")
    if state not in _REPORTED:
        raise WrongReportError(f'the state is "{state[:40]}", expected one of {", ".join(_REPORTED)}')
    progress = fields.get("progress", "").strip()
    return InstallReport(
        state=state,
        phase=_text(fields.get("phase"), 128),
        progress=min(100, int(progress)) if _NUMBER.fullmatch(progress) else None,
        message=_text(fields.get("message"), LONGEST_MESSAGE),
        correlation_id=correlation_id,
        address=address,
    )


class Booting:
    """Decides by the live registry, the store and the settings of the PXE server."""

    def __init__(self, registry: LiveRegistry, store: Store, settings: SettingsFile, boot_dir: Path) -> None:
        """Installers are looked for below `boot_dir`."""
        self._registry, self._store = registry, store
        self._settings, self._boot_dir = settings, boot_dir
        installers.load()

    def script(
        self,
        mac: str,
        form: Form,
        details: Mapping[str, str],
        *,
        preview: bool = False,
        wanted: Callable[[], bool] = lambda: True,
        correlation_id: str | None = None,
    ) -> Script:
        """What the machine boots, and the books kept of it; a preview changes nothing."""
        machine, record = self._registry.machine(mac), self._store.machine(mac)
        locked = machine is not None and machine.locked
        facts = facts_of(record, registered=machine is not None, registry_locked=locked, now=moment_now())
        decision = decide(facts)
        settings = self._settings_or_none()
        loader = ""
        if decision.action in (INSTALL, RESCUE_SYSTEM):
            try:
                loader = self._loader(machine, record, decision, form, details)
            except (NoInstallerError, SettingsError) as error:
                decision = Decision(LOCAL, f"{_WISHED[decision.action]}, but {error}")
        changes = not preview and (decision.action != LOCAL or decision.used_up or decision.rescue_ends)
        if changes:
            given = self._store.hand_out(
                mac,
                registered=machine is not None,
                registry_locked=locked,
                details=details,
                wanted=wanted,
                correlation_id=correlation_id,
            )
            if (given.action, given.attempt) != (decision.action, decision.attempt):
                # In this moment somebody has changed his mind.
                decision = Decision(LOCAL if given.action != MENU else MENU, given.reason)
        text = script(
            mac,
            decision,
            form=form,
            hostname=machine.hostname if machine else None,
            platform=details.get("platform"),
            local_boot=settings.local_boot if settings else LOCAL_BOOT,
            loader=loader,
        )
        return Script(text, decision.action, decision.reason, changes)

    def answer(self, mac: str, name: str, *, preview: bool = False) -> str:
        """One of the answer files of the machine's installation; one with a token in it mints that."""
        machine, record = self._registry.machine(mac), self._store.machine(mac)
        if machine is None:
            raise NoAnswerError(f"there are no answers for {mac}: it is not in the registry")
        settings = self._settings.current()
        if name == RESCUE_ANSWER:
            if record is None or record.state != RESCUE or record.rescued_at is None:
                raise NoAnswerError(f"there are no answers for {mac}: no rescue of it is under way")
            return installers.rescue_answer(machine, settings)
        problem = why_no_answers(record, registry_locked=machine.locked)
        if problem or record is None:
            raise NoAnswerError(f"there are no answers for {mac}: {problem}")
        plan = _plan(machine, settings, record, record.install_attempts)
        try:
            text = installers.answer(plan, name)
            if preview:
                return text
            secret = new_secret("install")
            with_token = installers.answer(replace(plan, token=secret), name)
        except NoInstallerError as error:
            raise NoAnswerError(str(error)) from error
        if with_token == text:
            return text
        try:
            self._store.keep_install_token(
                mac, plan.install_id, plan.attempt, digest(secret), registry_locked=machine.locked
            )
        except ConflictError as error:
            raise NoAnswerError(str(error)) from error
        return with_token

    def report(self, secret: str, report: InstallReport) -> MachineRecord:
        """Record what an installer says; the store's refusals say why it has no say."""
        return self._store.install_report(secret, report)

    def keep_log(self, secret: str, text: str) -> str:
        """Keep the end of an installer's log; gives the MAC."""
        return self._store.install_log(secret, text.replace("\0", "\ufffd"))

    def current_settings(self) -> BootSettings:
        """The settings as they are now; SettingsError where they cannot be used."""
        return self._settings.current()

    def _settings_or_none(self) -> BootSettings | None:
        try:
            return self._settings.current()
        except SettingsError:
            return None

    def _loader(
        self,
        machine: Machine | None,
        record: MachineRecord | None,
        decision: Decision,
        form: Form,
        details: Mapping[str, str],
    ) -> str:
        """The lines that load what was decided; NoInstallerError or SettingsError says why it cannot be."""
        if machine is None or record is None:
            raise NoInstallerError("it is not known")
        build = details.get("buildarch")
        if build is not None and build not in _BUILDS.get(machine.architecture, ()):
            raise NoInstallerError(
                f"the registry calls it {machine.architecture}, and its firmware is for {build}"
            )
        settings = self._settings.current()
        if decision.action == RESCUE_SYSTEM:
            problem = installers.rescue_problem(settings, machine.architecture, self._boot_dir)
            if problem:
                raise NoInstallerError(problem)
            return installers.rescue_script(machine, settings, form)
        plan = _plan(machine, settings, record, decision.attempt, details.get("platform"))
        problem = installers.problem(plan, self._boot_dir)
        if problem:
            raise NoInstallerError(problem)
        return installers.boot_script(plan, form)


_WISHED = {INSTALL: "an installation is asked for", RESCUE_SYSTEM: "a rescue is asked for"}


def _plan(
    machine: Machine,
    settings: BootSettings,
    record: MachineRecord,
    attempt: int,
    platform: str | None = None,
) -> InstallPlan:
    return InstallPlan(
        machine=machine,
        settings=settings,
        install_id=str(record.desired_install_id),
        attempt=attempt,
        overwrite=record.overwrite,
        platform=platform,
    )


def _text(given: str | None, longest: int) -> str | None:
    text = (given or "").replace("\0", "\ufffd").encode("utf-8", "replace").decode().strip()
    if len(text) > longest:
        text = text[: longest - 1] + "…"
    return text or None
