# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines that have no token and ask to be adopted. Anyone may ask; a person decides, by a code that the
machine shows."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import HTTPException, Path, Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from kubestead.api.access import PUBLIC, Section, authorization, caller_of
from kubestead.api.auth import READ, Doorkeeper
from kubestead.api.bodies import Mac, Moment, utc_text
from kubestead.api.errors import problem
from kubestead.store.enrolments import (
    DecidedError,
    Enrolment,
    NewEnrolment,
    TooManyEnrolmentsError,
    UnknownEnrolmentError,
)

from .common import Json, correlation_id, names_machine, peer_of, registry_of, store_of, stream_of

log = logging.getLogger(__name__)
section = Section("Enrolments")

_SECONDS_TO_WAIT = "60"


def _printable(text: str) -> str:
    """Text that a stranger sent, and that a person will read: nothing that a terminal would obey."""
    return "".join(letter for letter in text if letter.isprintable())


Shown = Annotated[str, StringConstraints(max_length=200), AfterValidator(_printable)]
CodeInPath = Annotated[
    str,
    Path(pattern=r"^[A-Za-z]{4}-[A-Za-z]{4}$", description="as the machine shows it", examples=["BCDF-GHJK"]),
]
IdInPath = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$", description="from the answer to the enrolment")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class HardwareSummary(_Body):
    """What a machine says that it is, for the person who decides."""

    cpu: Shown | None = None
    threads: Annotated[int, Field(ge=0, le=2**20)] | None = None
    memory_bytes: Annotated[int, Field(ge=0, le=2**53)] | None = None
    disks: Annotated[list[Shown], Field(max_length=16)] = []
    gpus: Annotated[list[Shown], Field(max_length=16)] = []
    product: Shown | None = None
    serial: Shown | None = None
    system: Shown | None = None


class EnrolmentBody(_Body):
    """A machine that asks to be adopted."""

    mac: Mac
    hostname: Annotated[str, StringConstraints(max_length=253), AfterValidator(_printable)] = ""
    addresses: Annotated[
        list[Annotated[str, StringConstraints(pattern=r"^[0-9A-Fa-f:.]{2,45}$")]], Field(max_length=16)
    ] = []
    hardware: HardwareSummary = HardwareSummary()


class EnrolmentMade(BaseModel):
    """The secret is in this answer and nowhere else. It opens nothing, until a person has agreed: then it is
    the machine's token."""

    id: str
    code: str
    secret: str
    expires_at: Moment


class EnrolmentCondition(BaseModel):
    """How far it is."""

    condition: Literal["waiting", "approved", "refused", "expired"]
    code: str
    mac: str
    expires_at: Moment


class EnrolmentView(EnrolmentCondition):
    """A machine that asks. What it says of itself is not known to be true; `peer` is where it asked from,
    `registered_hostname` what the registry calls the machine with that MAC, `state` how that one is."""

    id: str
    hostname: str
    addresses: list[str]
    hardware: dict[str, Any]
    peer: str | None
    created_at: Moment
    decided_at: Moment | None
    decided_by: str | None
    registered_hostname: str | None
    state: str | None


@section.route("POST", "/api/enrolments", allow={PUBLIC}, gives=EnrolmentMade, status=201, refuses=[422, 503])
def post_enrolment(request: Request, body: EnrolmentBody) -> Json:
    """Ask to be adopted, as a machine without a token.

    Nothing is opened by that. The machine shows the code; an operator compares it and approves or refuses,
    within 24 hours. How many may wait, and how often is asked, has a limit.
    """
    names_machine(body.mac)
    new = NewEnrolment(
        body.mac, body.hostname, body.addresses, body.hardware.model_dump(exclude_none=True), peer_of(request)
    )
    registered = registry_of(request).machine(body.mac) is not None
    try:
        made, secret = store_of(request).enrol(new, registered=registered, correlation_id=correlation_id())
    except TooManyEnrolmentsError as error:
        log.warning("%s", error)
        return problem(429, str(error), {"Retry-After": _SECONDS_TO_WAIT})
    log.info("asks to be adopted: code %s", made.code)
    stream_of(request).wake_from_thread()
    answer = {"id": made.id, "code": made.code, "secret": secret, "expires_at": utc_text(made.expires_at)}
    return Json(answer, 201, {"Cache-Control": "no-store"})


@section.route(
    "GET",
    "/api/enrolments/{id}/condition",
    allow={PUBLIC},
    gives=EnrolmentCondition,
    refuses=[404, 422, 503],
)
def get_condition(request: Request, id: IdInPath) -> Json:
    """Tell a machine how far its enrolment is; asked with its secret as the token."""
    scheme, _, secret = authorization(request.scope).decode("latin-1").partition(" ")
    found = store_of(request).own_enrolment(id, secret.strip()) if scheme.lower() == "bearer" else None
    if found is None:
        detail = "there is no such enrolment, or this is not its secret: ask anew by POST /api/enrolments"
        raise HTTPException(404, detail)
    names_machine(found.mac)
    return Json(_condition(found))


@section.route("GET", "/api/enrolments", allow={READ}, gives=list[EnrolmentView], refuses=[503])
def get_enrolments(request: Request) -> Json:
    """Give the machines that ask, or have asked, to be adopted, the newest last."""
    return Json([_view(request, each) for each in store_of(request).enrolments()])


_DECISION: dict[str, Any] = {"allow": (), "gives": EnrolmentView, "refuses": [404, 409, 503]}


@section.route("POST", "/api/enrolments/{code}/approve", **_DECISION)
def approve_enrolment(request: Request, code: CodeInPath) -> Json:
    """Adopt the machine that shows this code: it gets its token, and any other token of that MAC ends."""
    return _decide(request, code, approve=True)


@section.route("POST", "/api/enrolments/{code}/refuse", **_DECISION)
def refuse_enrolment(request: Request, code: CodeInPath) -> Json:
    """Refuse the machine that shows this code."""
    return _decide(request, code, approve=False)


def _decide(request: Request, code: str, *, approve: bool) -> Json:
    actor = caller_of(request).name
    try:
        enrolment = store_of(request).decide(
            code, approve=approve, actor=actor, correlation_id=correlation_id()
        )
    except UnknownEnrolmentError as error:
        return problem(404, str(error))
    except DecidedError as error:
        return problem(409, str(error))
    names_machine(enrolment.mac)
    doorkeeper: Doorkeeper = request.app.state.doorkeeper
    doorkeeper.forget()
    stream_of(request).wake_from_thread()
    return Json(_view(request, enrolment))


def _condition(enrolment: Enrolment) -> dict[str, Any]:
    return {
        "condition": enrolment.condition,
        "code": enrolment.code,
        "mac": enrolment.mac,
        "expires_at": utc_text(enrolment.expires_at),
    }


def _view(request: Request, enrolment: Enrolment) -> dict[str, Any]:
    machine, record = registry_of(request).machine(enrolment.mac), store_of(request).machine(enrolment.mac)
    return {
        **_condition(enrolment),
        "id": enrolment.id,
        "hostname": enrolment.hostname,
        "addresses": list(enrolment.addresses),
        "hardware": dict(enrolment.hardware),
        "peer": enrolment.peer,
        "created_at": utc_text(enrolment.created_at),
        "decided_at": _moment(enrolment.decided_at),
        "decided_by": enrolment.decided_by,
        "registered_hostname": machine.hostname if machine else None,
        "state": record.state if record else None,
    }


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else utc_text(moment)
