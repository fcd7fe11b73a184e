# SPDX-License-Identifier: GPL-3.0-or-later
"""The bodies that come in and go out. Fields that are not named here are refused."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, StringConstraints

from kubestead.model.lifecycle import STATES
from kubestead.model.mac import normalise_mac

from .settings import VALUE_LIMIT

_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


def _known_state(state: str) -> str:
    if state not in STATES:
        raise ValueError(f'"{state}" is not a state: expected one of {", ".join(STATES)}')
    return state


def _storable(value: Any) -> Any:
    try:
        size = len(json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode())
    except UnicodeEncodeError as error:
        raise ValueError("the value holds half of a surrogate pair, which is no text") from error
    except RecursionError as error:
        raise ValueError("the value is nested too deeply") from error
    if size > VALUE_LIMIT:
        raise ValueError(f"the value is {size} bytes as JSON: at most {VALUE_LIMIT} are stored")
    return value


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("a NUL character is not text")
    return text


def utc_text(moment: datetime) -> str:
    """A moment as ISO 8601 in UTC, to the millisecond."""
    return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Mac = Annotated[str, StringConstraints(max_length=64), AfterValidator(normalise_mac)]
State = Annotated[str, AfterValidator(_known_state), Field(json_schema_extra={"enum": list(STATES)})]
Phase = Annotated[str, StringConstraints(max_length=128), AfterValidator(_without_nul)]
Message = Annotated[str, StringConstraints(max_length=8 * 1024), AfterValidator(_without_nul)]
ErrorText = Annotated[str, StringConstraints(max_length=64 * 1024), AfterValidator(_without_nul)]
FeatureName = Annotated[str, StringConstraints(max_length=64, pattern=_NAME)]
FeatureStatus = Annotated[str, StringConstraints(max_length=1024), AfterValidator(_without_nul)]
Key = Annotated[str, StringConstraints(max_length=128, pattern=_NAME)]
Progress = Annotated[int, Field(strict=True, ge=0, le=100)]
Moment = Annotated[datetime, PlainSerializer(utc_text, return_type=str)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class StateBody(_Body):
    """What a machine, or a run on its behalf, reports."""

    mac: Mac
    state: State
    phase: Phase | None = None
    progress: Progress | None = None
    message: Message | None = None
    features: Annotated[dict[FeatureName, FeatureStatus], Field(max_length=64)] | None = None
    error: ErrorText | None = None


class DataBody(_Body):
    """A value to keep for a machine: any JSON up to 256 KiB."""

    mac: Mac
    key: Key
    value: Annotated[Any, AfterValidator(_storable)]


class StateRecorded(BaseModel):
    """The report is on disk."""

    mac: str
    state: str
    updated_at: Moment


class DataRecorded(BaseModel):
    """The value is on disk."""

    mac: str
    key: str
    updated_at: Moment


class Datum(DataRecorded):
    """A stored value with its time."""

    value: Any


class MachineState(BaseModel):
    """How a machine is: its place in the registry and its last report. No state: it has not reported yet."""

    hostname: str | None
    role: str | None
    state: str | None
    phase: str | None
    progress: int | None
    message: str | None
    features: dict[str, str]
    updated_at: Moment | None


class Health(BaseModel):
    """Whether the API can do its work."""

    status: str
    version: str
    registry: str
    machines: int


class Problem(BaseModel):
    """What went wrong, in plain words."""

    detail: str


BODIES: dict[str, type[BaseModel]] = {"/api/state": StateBody, "/api/data": DataBody}
