# SPDX-License-Identifier: GPL-3.0-or-later
"""The bodies that come in and go out. Fields that are not named here are refused."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    model_validator,
)
from pydantic_core import PydanticCustomError

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


def _number(value: Any) -> Any:
    if isinstance(value, bool | str):
        raise PydanticCustomError("int_type", "Input should be a valid integer")
    return value


def utc_text(moment: datetime) -> str:
    """A moment as ISO 8601 in UTC, to the millisecond."""
    return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


_TEXT = Field(json_schema_extra={"pattern": r"^[^\u0000]*$"})
_PAIR = "[0-9A-Fa-f]{2}"
_QUAD = "[0-9A-Fa-f]{4}"
# For whoever reads the description; what counts is normalise_mac.
_MAC_NOTATIONS = "|".join(
    [
        rf"^{_PAIR}(:{_PAIR}){{5}}$",
        rf"^{_PAIR}(-{_PAIR}){{5}}$",
        rf"^{_QUAD}(\.{_QUAD}){{2}}$",
        r"^[0-9A-Fa-f]{12}$",
        rf"^01(-{_PAIR}){{6}}$",
    ]
)
Mac = Annotated[
    str,
    StringConstraints(max_length=64),
    AfterValidator(normalise_mac),
    Field(json_schema_extra={"pattern": _MAC_NOTATIONS}),
]
State = Annotated[str, AfterValidator(_known_state), Field(json_schema_extra={"enum": list(STATES)})]
Phase = Annotated[str, StringConstraints(max_length=128), AfterValidator(_without_nul), _TEXT]
Message = Annotated[str, StringConstraints(max_length=8 * 1024), AfterValidator(_without_nul), _TEXT]
ErrorText = Annotated[str, StringConstraints(max_length=64 * 1024), AfterValidator(_without_nul), _TEXT]
FeatureName = Annotated[str, StringConstraints(max_length=64, pattern=_NAME)]
FeatureStatus = Annotated[str, StringConstraints(max_length=1024), AfterValidator(_without_nul), _TEXT]
Key = Annotated[str, StringConstraints(max_length=128, pattern=_NAME)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(_without_nul), _TEXT]
# JSON knows one kind of numbers: 40.0 is 40.
Version = Annotated[int, Field(ge=0, le=2**53), BeforeValidator(_number)]
Progress = Annotated[int, Field(ge=0, le=100), BeforeValidator(_number)]
Seconds = Annotated[int, Field(ge=60, le=10 * 365 * 86400), BeforeValidator(_number)]
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
    features: (
        Annotated[
            dict[FeatureName, FeatureStatus],
            Field(max_length=64, json_schema_extra={"additionalProperties": False}),
        ]
        | None
    ) = None
    error: ErrorText | None = None


class ActionBody(_Body):
    """What a person wants done; with `version` only if the machine is still as that person has seen it."""

    version: Version | None = None


class ReinstallBody(ActionBody):
    """A wish for a new installation, which erases the disk: the host name has to be the machine's."""

    hostname: Annotated[str, StringConstraints(max_length=253)]


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
    """Whether the API can do its work. `registry_problems` is how many an edit of the registry has now."""

    status: str
    version: str
    registry: Literal["ok", "missing", "invalid"]
    registry_problems: int
    machines: int
    store: Literal["sqlite", "postgresql"]


class Install(BaseModel):
    """A machine boots the installer while the wanted installation is not the completed one."""

    desired_id: str | None
    completed_id: str | None
    attempts: Annotated[int, Field(description="so many boots were given the installer")]
    most_attempts: int
    overwrite: Annotated[bool, Field(description="the installer may write a disk that is not empty")]
    handed_out_at: Annotated[Moment | None, Field(description="when the last attempt was")]


class Rescue(BaseModel):
    """A machine in the state `rescue` boots the rescue system once, then is as it was before."""

    from_state: str | None
    handed_out_at: Moment | None


class MachineView(BaseModel):
    """A machine: what the registry says of it, and what was last reported. No state: nothing was yet."""

    mac: str
    hostname: str | None
    role: str | None
    architecture: str | None
    os: str | None
    cluster: str | None
    ip: str | None
    address: Annotated[str | None, Field(description="from where the machine itself has reported last")]
    registered: bool
    features: list[str]
    feature_status: dict[str, str]
    state: str | None
    phase: str | None
    progress: int | None
    message: str | None
    error: str | None
    locked: bool
    since: Annotated[Moment | None, Field(description="when it came to this state")]
    updated_at: Moment | None
    deadline_at: Annotated[Moment | None, Field(description="when it counts as failed without a report")]
    version: Annotated[int, Field(description="grows with every change; 0: nothing was reported yet")]
    install: Install
    rescue: Rescue


class Event(BaseModel):
    """One thing that happened. Events are never changed or removed."""

    id: int
    at: Moment
    kind: str
    mac: str | None
    state: str | None
    previous_state: str | None
    phase: str | None
    progress: int | None
    message: str | None
    error: str | None
    features: dict[str, str]
    actor: Annotated[str | None, Field(description="the name of the token")]
    correlation_id: str | None


class RegistryBody(_Body):
    """A whole registry, to take the place of the live one.

    It does so where the live one is what the caller has seen: `expected_sha256`, or without it what was
    pushed last. `force` replaces it anyway.
    """

    text: str
    expected_sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None
    force: bool = False


class RegistryView(BaseModel):
    """The live registry's file, and whether it is in force. Its text is shown to operators only."""

    path: str
    text: str | None
    sha256: str | None
    condition: Literal["ok", "missing", "invalid"]
    problems: list[str]
    warnings: list[str]
    pushed_sha256: Annotated[str | None, Field(description="of the text that was pushed last")]


class TokenBody(_Body):
    """A token to be made; one of the scope `machine` is bound to a MAC."""

    name: Name
    scope: Literal["operator", "read", "machine"]
    mac: Mac | None = None
    expires_in_seconds: Seconds | None = None

    @model_validator(mode="after")
    def _bound(self) -> TokenBody:
        if (self.scope == "machine") != (self.mac is not None):
            raise ValueError("mac: a token of the scope machine needs one, others have none")
        return self


class TokenView(BaseModel):
    """A token without its secret."""

    id: int
    name: str
    scope: str
    mac: str | None
    condition: Literal["valid", "expired", "revoked"]
    created_at: Moment
    expires_at: Moment | None
    revoked_at: Moment | None
    last_used_at: Moment | None


class Identity(BaseModel):
    """What the token that was sent opens."""

    name: str
    scope: Literal["operator", "read", "machine"]
    mac: str | None


class TokenMade(TokenView):
    """A new token with its secret, which is shown this once and kept nowhere."""

    token: str


class ClaimBody(_Body):
    """Who wants the claim: a MAC or a host name."""

    holder: Annotated[
        str, StringConstraints(min_length=1, max_length=253), AfterValidator(_without_nul), _TEXT
    ]


class ClaimCompletion(ClaimBody):
    """What the holder has made of the claim, for all to read."""

    epoch: Version
    data: Annotated[Any, AfterValidator(_storable)]


class ClaimRelease(_Body):
    """Which claim is meant: one that was taken anew in between is not."""

    epoch: Version


class ClaimView(BaseModel):
    """A claim and its holder. It does not end by itself; an operator's force gives it to another."""

    name: str
    holder: str
    epoch: int
    state: Literal["claimed", "initialized"]
    data: Any
    claimed_at: Moment
    initialized_at: Moment | None


class Problem(BaseModel):
    """What went wrong, in plain words."""

    detail: str


class RegistryProblem(Problem):
    """All that is wrong with a registry."""

    problems: list[str]


class Difference(Problem):
    """What replacing the live registry would change, as a unified diff."""

    difference: str


class MachineConflict(Problem):
    """The machine is not as the caller thought; here is how it is."""

    machine: MachineView


class ClaimTaken(Problem):
    """Somebody else holds the claim."""

    claim: ClaimView
