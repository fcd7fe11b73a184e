# SPDX-License-Identifier: GPL-3.0-or-later
"""Every error leaves as JSON with one sentence that a person can act on."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from kubestead.store import RefusedError, StoreUnavailableError

from .bodies import BODIES

log = logging.getLogger(__name__)


def install(app: FastAPI) -> None:
    """Let `app` answer errors in plain words."""
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(StoreUnavailableError, _store_unavailable)
    app.add_exception_handler(RefusedError, _not_allowed)
    app.add_exception_handler(HTTPException, _refused)


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The answer for an error."""
    return JSONResponse({"detail": detail}, status, headers)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    errors: Sequence[Mapping[str, Any]] = error.errors() if isinstance(error, RequestValidationError) else ()
    return problem(422, "; ".join(_sentence(request, each) for each in errors))


async def _store_unavailable(_request: Request, error: Exception) -> JSONResponse:
    log.error("%s", error)
    return problem(503, f"{error}. Nothing was written; try again.", {"Retry-After": "5"})


async def _not_allowed(_request: Request, error: Exception) -> JSONResponse:
    return problem(409, str(error))


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


def _sentence(request: Request, error: Mapping[str, Any]) -> str:
    place = [str(part) for part in error["loc"] if part not in ("body", "path", "query")]
    name = ".".join(place)
    kind, message = error["type"], str(error["msg"])
    if kind == "extra_forbidden":
        model = BODIES.get(request.url.path)
        known = f" (known: {', '.join(model.model_fields)})" if model else ""
        return f'unknown field "{name}"{known}'
    if kind == "missing":
        return f'the field "{name}" is missing' if name else "a JSON body is missing"
    if kind == "json_invalid":
        reason = error.get("ctx", {}).get("error", message)
        return f"the body is not JSON: {reason}"
    if kind == "model_attributes_type" and not name:
        return 'the body is not a JSON object {"field": value, …}'
    message = (
        message.removeprefix("Value error, ")
        .replace("Input should be", "expected")
        .replace("String should", "must")
    )
    return f"{name}: {message}" if name else f"the body: {message}"
