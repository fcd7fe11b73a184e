# SPDX-License-Identifier: GPL-3.0-or-later
"""Every error leaves as JSON with one sentence that a person can act on."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from kubestead.model.registry import RegistryError, RegistryLockedError, RegistryUnwritableError
from kubestead.store import (
    ClaimTakenError,
    IllegalTransitionError,
    StoreError,
    StoreUnavailableError,
    UnknownClaimError,
    UnknownTokenError,
)

from .live_registry import EditedMeanwhileError, EntryRefusedError
from .logs import request_context
from .views import claim_view

log = logging.getLogger(__name__)

_SOON = {"Retry-After": "5"}


def install(app: FastAPI) -> None:
    """Let `app` answer errors in plain words."""
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(Exception, _fault)
    for kind in _ANSWERS:
        app.add_exception_handler(kind, _told)


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None, **more: Any) -> JSONResponse:
    """The answer for an error; `more` is what a program may want to know beside the sentence."""
    return JSONResponse({"detail": detail, **more}, status, headers)


def answer_to(error: Exception) -> JSONResponse:
    """The answer for what the store or the registry has refused."""
    for kind in type(error).__mro__:
        if make := _ANSWERS.get(kind):
            answer: JSONResponse = make(error)
            return answer
    raise error


async def _told(_request: Request, error: Exception) -> JSONResponse:
    return answer_to(error)


def _store_unavailable(error: Any) -> JSONResponse:
    log.error("%s", error)
    return problem(503, f"{error}. Nothing was written; try again.", _SOON)


def _store_unfit(error: Any) -> JSONResponse:
    log.error("%s", error)
    return problem(503, str(error))


def _registry_unavailable(error: Any) -> JSONResponse:
    log.error("%s", error)
    return problem(503, f"{error}. The registry is as it was.", _SOON)


def _live_registry_invalid(error: Any) -> JSONResponse:
    return problem(409, f"the live registry has to be put right first: {_one_line(error.problems)}")


_ANSWERS: dict[type[Exception], Any] = {
    StoreUnavailableError: _store_unavailable,
    StoreError: _store_unfit,
    IllegalTransitionError: lambda error: problem(409, str(error)),
    ClaimTakenError: lambda error: problem(409, str(error), claim=claim_view(error.claim)),
    UnknownClaimError: lambda error: problem(404, str(error)),
    UnknownTokenError: lambda error: problem(404, str(error)),
    RegistryLockedError: _registry_unavailable,
    RegistryUnwritableError: _registry_unavailable,
    RegistryError: _live_registry_invalid,
    EntryRefusedError: lambda error: problem(422, _one_line(error.problems), problems=error.problems),
    EditedMeanwhileError: lambda error: problem(412, str(error), difference=error.difference),
}


async def _fault(_request: Request, _error: Exception) -> JSONResponse:
    context = request_context.get()
    return problem(
        500,
        "the State API ran into a fault of its own; the log has it under correlation id "
        f"{context.correlation_id if context else 'none'}: journalctl -u machine-state-api",
    )


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    errors: Sequence[Mapping[str, Any]] = error.errors() if isinstance(error, RequestValidationError) else ()
    return problem(422, "; ".join(_sentence(request, each) for each in errors))


async def _refused(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    detail = str(error.detail)
    if error.status_code == 404 and detail == "Not Found":
        detail = f"there is no path {request.url.path}: /docs lists those that there are"
    elif error.status_code == 400:
        detail = "the body cannot be read as JSON: it is nested too deeply, or a number in it is too long"
    elif error.status_code == 405:
        detail = f"{request.url.path} does not take {request.method}: /docs lists what it takes"
    return problem(error.status_code, detail, error.headers)


def _one_line(problems: Sequence[Any]) -> str:
    return "; ".join(str(each) for each in problems)


def _sentence(request: Request, error: Mapping[str, Any]) -> str:
    """One problem of a request, named by its field."""
    place = [str(part) for part in error["loc"] if part not in ("body", "path", "query", "header")]
    name = "" if error["type"] == "json_invalid" else ".".join(place)
    kind, message = error["type"], str(error["msg"])
    if kind == "extra_forbidden":
        model = _body_model(request)
        known = f" (known: {', '.join(model.model_fields)})" if model else ""
        return f'unknown field "{name}"{known}'
    if kind == "missing":
        return f'the field "{name}" is missing' if name else "a JSON body is missing"
    if kind == "json_invalid":
        reason = error.get("ctx", {}).get("error", message)
        return f"the body is not JSON: {reason}"
    if kind in ("model_attributes_type", "dict_type") and not name:
        return 'the body is not a JSON object {"field": value, …}'
    message = (
        message.removeprefix("Value error, ")
        .replace("Input should be", "expected")
        .replace("String should", "must")
    )
    return f"{name}: {message}" if name else f"the body: {message}"


def _body_model(request: Request) -> type[BaseModel] | None:
    field = getattr(request.scope.get("route"), "body_field", None)
    model = field.field_info.annotation if field else None
    return model if isinstance(model, type) and issubclass(model, BaseModel) else None
