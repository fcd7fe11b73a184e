# SPDX-License-Identifier: GPL-3.0-or-later
"""What is shown: a machine as the registry and the store together see it, events, tokens and claims."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from kubestead.model.boot_decision import MOST_ATTEMPTS
from kubestead.model.machine import Machine
from kubestead.store import Claim, Event, MachineRecord, TokenRecord

from .bodies import utc_text

Shown = dict[str, Any]


def machine_view(mac: str, machine: Machine | None, record: MachineRecord | None) -> Shown:
    """One machine, from its entry in the registry and its record in the store; either may be missing."""
    return {
        "mac": mac,
        "hostname": machine.hostname if machine else None,
        "role": machine.role if machine else None,
        "architecture": machine.architecture if machine else None,
        "os": machine.os if machine else None,
        "cluster": machine.cluster if machine else None,
        "ip": machine.ip if machine else None,
        "address": record.address if record else None,
        "registered": machine is not None,
        "features": list(machine.features) if machine else [],
        "feature_status": dict(record.features) if record else {},
        "state": record.state if record else None,
        "phase": record.phase if record else None,
        "progress": record.progress if record else None,
        "message": record.message if record else None,
        "error": record.error if record else None,
        "locked": bool((machine and machine.locked) or (record and record.locked)),
        "since": _time(record.since) if record else None,
        "updated_at": _time(record.updated_at) if record else None,
        "deadline_at": _time(record.deadline_at) if record else None,
        "version": record.version if record else 0,
        "install": {
            "desired_id": record.desired_install_id if record else None,
            "completed_id": record.completed_install_id if record else None,
            "attempts": record.install_attempts if record else 0,
            "most_attempts": MOST_ATTEMPTS,
            "overwrite": record.overwrite if record else False,
            "handed_out_at": _time(record.handed_out_at) if record else None,
        },
        "rescue": {
            "from_state": record.rescue_from if record else None,
            "handed_out_at": _time(record.rescued_at) if record else None,
        },
    }


def machine_views(
    registered: Mapping[str, Machine], records: Mapping[str, MachineRecord]
) -> dict[str, Shown]:
    """All machines by MAC: those of the registry in its order, then those that it does not have."""
    macs = dict.fromkeys([*registered, *records])
    return {mac: machine_view(mac, registered.get(mac), records.get(mac)) for mac in macs}


def state_view(machine: Machine | None, record: MachineRecord | None) -> Shown:
    """One machine as `GET /api/states` has always shown it; a report's error stands at the message's end."""
    return {
        "hostname": machine.hostname if machine else None,
        "role": machine.role if machine else None,
        "state": record.state if record else None,
        "phase": record.phase if record else None,
        "progress": record.progress if record else None,
        "message": _with_error(record) if record else None,
        "features": dict(record.features) if record else {},
        "updated_at": _time(record.updated_at) if record else None,
    }


def event_view(event: Event) -> Shown:
    """One event."""
    return {
        "id": event.id,
        "at": _time(event.at),
        "kind": event.kind,
        "mac": event.mac,
        "state": event.state,
        "previous_state": event.previous_state,
        "phase": event.phase,
        "progress": event.progress,
        "message": event.message,
        "error": event.error,
        "features": dict(event.features),
        "actor": event.actor,
        "correlation_id": event.correlation_id,
    }


def token_view(record: TokenRecord) -> Shown:
    """One token, without its secret, which nobody has any more."""
    return {
        "id": record.id,
        "name": record.name,
        "scope": record.scope,
        "mac": record.mac,
        "condition": record.condition,
        "created_at": _time(record.created_at),
        "expires_at": _time(record.expires_at),
        "revoked_at": _time(record.revoked_at),
        "last_used_at": _time(record.last_used_at),
    }


def claim_view(claim: Claim) -> Shown:
    """One claim."""
    return {
        "name": claim.name,
        "holder": claim.holder,
        "epoch": claim.epoch,
        "state": claim.state,
        "data": claim.data,
        "claimed_at": _time(claim.claimed_at),
        "initialized_at": _time(claim.initialized_at),
    }


def _time(moment: datetime | None) -> str | None:
    return utc_text(moment) if moment is not None else None


def _with_error(record: MachineRecord) -> str | None:
    if not record.error or record.error == record.message:
        return record.message
    return f"{record.message}: {record.error}" if record.message else record.error
