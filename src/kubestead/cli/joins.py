# SPDX-License-Identifier: GPL-3.0-or-later
"""How a machine has joined its cluster, as the run that let it join has kept it (module kubeadm_join)."""

from __future__ import annotations

from .output import one_line
from .session import Session
from .views import age

KEY = "join"


def join_facts(session: Session, mac: str) -> list[tuple[str, str]]:
    """The line about it among all that is known of a machine; none where it has not joined."""
    kept = session.api.data_or_none(mac, KEY)
    if kept is None or not isinstance(kept["value"], dict):
        return []
    told = {key: one_line(str(value)) for key, value in kept["value"].items()}
    what = f"as {told.get('role')} {told.get('node')} at {told.get('endpoint')}"
    return [("joined", f"{what}, by token {told.get('token_id')} ({age(kept['updated_at'])})")]
