# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine's own token for its installer's: the one thing that a token of an installation opens here."""

from __future__ import annotations

from typing import Annotated

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from kubestead.api.access import Section, authorization
from kubestead.api.auth import INSTALL, Doorkeeper, secret_of, unauthorised
from kubestead.api.bodies import Mac
from kubestead.api.errors import problem
from kubestead.store import ConflictError, InstallTokenError

from .common import Json, names_machine, registry_of, store_of, stream_of

section = Section("Installation")


class ExchangeBody(BaseModel):
    """Whose token it is to be. A machine that has made its secret itself, and keeps it already, sends only
    its SHA-256: then no cut on the way can leave it without a token."""

    model_config = ConfigDict(extra="forbid")

    mac: Mac
    digest: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None


class Exchanged(BaseModel):
    """The machine's own token, shown this once; null where the machine has made it."""

    token: Annotated[str | None, Field(description="a secret")]
    mac: str
    install_id: str
    state: str


@section.route("POST", "/api/exchange", allow={INSTALL}, gives=Exchanged, refuses=[409, 503])
def exchange_token(request: Request, body: ExchangeBody) -> Json:
    """Give a machine its own token for that of its installation, once.

    It is the token in the header that counts: that of the last attempt of an installation that is still
    wanted. All earlier tokens of the machine are closed. A machine whose installer could not say any more
    that it is done is installed by this.
    """
    names_machine(body.mac)
    secret = secret_of(authorization(request.scope))
    machine = registry_of(request).machine(body.mac)
    name = machine.hostname if machine else body.mac
    try:
        record, made = store_of(request).exchange(secret, body.mac, name, body.digest)
    except InstallTokenError as error:
        raise unauthorised(str(error), "invalid_token") from error
    except ConflictError as error:
        return problem(409, str(error))
    doorkeeper: Doorkeeper = request.app.state.doorkeeper
    doorkeeper.forget()
    stream_of(request).wake_from_thread()
    answer = {
        "token": made,
        "mac": body.mac,
        "install_id": record.completed_install_id,
        "state": record.state,
    }
    return Json(answer, headers={"Cache-Control": "no-store"})
