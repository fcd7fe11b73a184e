# SPDX-License-Identifier: GPL-3.0-or-later
"""One-shot claims: whoever asks first may do what must be done once, such as beginning a cluster."""

from __future__ import annotations

from fastapi import HTTPException, Request

from kubestead.api.access import Section, caller_of
from kubestead.api.auth import MACHINE, READ, Caller, forbidden
from kubestead.api.bodies import ClaimBody, ClaimCompletion, ClaimRelease, ClaimTaken, ClaimView
from kubestead.api.views import claim_view
from kubestead.model.mac import is_mac, normalise_mac

from .common import ClaimInPath, Json, registry_of, store_of, stream_of

section = Section("Claims")


@section.route("GET", "/api/claims", allow={READ}, gives=list[ClaimView], refuses=[503])
def get_claims(request: Request) -> Json:
    """Give all claims."""
    return Json([claim_view(claim) for claim in store_of(request).claims()])


@section.route("GET", "/api/claims/{name}", allow={READ, MACHINE}, gives=ClaimView, refuses=[404, 503])
def get_claim(request: Request, name: ClaimInPath) -> Json:
    """Give one claim."""
    claim = store_of(request).claim(name)
    if claim is None:
        raise HTTPException(404, f"nobody has claimed {name}")
    return Json(claim_view(claim))


@section.route(
    "POST",
    "/api/claims/{name}",
    allow={MACHINE},
    gives=ClaimView,
    also={201: ClaimView, 409: ClaimTaken},
    refuses=[503],
)
def take_claim(request: Request, name: ClaimInPath, body: ClaimBody) -> Json:
    """Claim something for a machine: 201 when it is the first, 200 when it has it already, else 409."""
    caller = caller_of(request)
    holder = _holder(request, caller, body.holder)
    claim = store_of(request).take_claim(name, holder, actor=caller.name)
    stream_of(request).wake_from_thread()
    return Json(claim_view(claim), 201 if claim.new else 200)


@section.route(
    "PUT", "/api/claims/{name}", allow={MACHINE}, gives=ClaimView, also={409: ClaimTaken}, refuses=[404, 503]
)
def complete_claim(request: Request, name: ClaimInPath, body: ClaimCompletion) -> Json:
    """Say that what was claimed is done, for good, and leave what others need to know of it."""
    caller = caller_of(request)
    holder = _holder(request, caller, body.holder)
    claim = store_of(request).complete_claim(name, holder, body.epoch, body.data, actor=caller.name)
    stream_of(request).wake_from_thread()
    return Json(claim_view(claim))


@section.route("POST", "/api/claims/{name}/force", allow=(), gives=ClaimView, refuses=[503])
def force_claim(request: Request, name: ClaimInPath, body: ClaimBody) -> Json:
    """Give a claim to another holder, whatever the one before does; its epoch grows by one."""
    caller = caller_of(request)
    holder = _holder(request, caller, body.holder)
    claim = store_of(request).force_claim(name, holder, actor=caller.name)
    stream_of(request).wake_from_thread()
    return Json(claim_view(claim))


@section.route(
    "POST",
    "/api/claims/{name}/release",
    allow=(),
    gives=ClaimView,
    also={409: ClaimTaken},
    refuses=[404, 503],
)
def release_claim(request: Request, name: ClaimInPath, body: ClaimRelease) -> Json:
    """Let go of a claim, since what was done is no more: the next one to ask gets it."""
    claim = store_of(request).release_claim(name, body.epoch, actor=caller_of(request).name)
    if claim is None:
        raise HTTPException(404, f"nobody has claimed {name}")
    stream_of(request).wake_from_thread()
    return Json(claim_view(claim))


def _holder(request: Request, caller: Caller, written: str) -> str:
    """The holder as it is kept; a machine can only be its own."""
    if is_mac(written):
        mac = normalise_mac(written)
        caller.must_act_for(mac)
        return mac
    if caller.scope == MACHINE and caller.mac is not None:
        own = registry_of(request).machine(caller.mac)
        if own is None or own.hostname != written:
            raise forbidden(
                f'this token is the machine {caller.mac}\'s own: it cannot hold a claim as "{written}"'
            )
    return written
