# SPDX-License-Identifier: GPL-3.0-or-later
"""Structured logs on standard error: a JSON object a line, with time, level, machine and correlation id."""

from __future__ import annotations

import itertools
import json
import logging
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

_LEVELS = {logging.WARNING: "WARN", logging.CRITICAL: "ERROR"}
_OWN_FIELDS = ("method", "path", "status", "milliseconds", "client")


@dataclass
class RequestContext:
    """What the lines that one request leaves have in common; the handler fills in the machine."""

    correlation_id: str
    machine: str | None = None


request_context: ContextVar[RequestContext | None] = ContextVar("request_context", default=None)


_PROCESS = secrets.token_hex(6)
_numbers = itertools.count(1)


def new_correlation_id() -> str:
    """An id for a request that came without one: unlike any other, of this process and of others."""
    return f"{_PROCESS}-{next(_numbers):x}"


class Sparing:
    """Decides which of many like lines are logged: all while they are few, a share when they are many."""

    def __init__(self, per_second: float = 20, burst: float = 50) -> None:
        """Let `burst` lines pass at once and `per_second` from then on."""
        self._per_second, self._burst = per_second, burst
        self._left, self._at = burst, time.monotonic()
        self._left_out = 0

    def worth_a_line(self) -> bool:
        """Tell whether this one is to be logged."""
        now = time.monotonic()
        self._left = min(self._burst, self._left + (now - self._at) * self._per_second)
        self._at = now
        if self._left < 1:
            self._left_out += 1
            return False
        self._left -= 1
        return True

    def take_left_out(self) -> int:
        """How many were not logged since this was asked last."""
        left_out, self._left_out = self._left_out, 0
        return left_out


@contextmanager
def outside_requests() -> Iterator[None]:
    """Let log lines within belong to no request, though one happened to bring them about."""
    token = request_context.set(None)
    try:
        yield
    finally:
        request_context.reset(token)


class JsonFormatter(logging.Formatter):
    """A log record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        context = request_context.get()
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": _LEVELS.get(record.levelno, record.levelname),
            "machine": getattr(record, "machine", None) or (context.machine if context else None),
            "correlation_id": context.correlation_id if context else None,
            "message": record.getMessage(),
        }
        for name in _OWN_FIELDS:
            if (value := getattr(record, name, None)) is not None:
                line[name] = value
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def set_up_logs(level: str) -> None:
    """Send everything that this process logs to standard error as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("kubestead").setLevel(logging.WARNING if level == "WARN" else level)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
