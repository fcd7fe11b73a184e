# SPDX-License-Identifier: GPL-3.0-or-later
"""Structured logs on standard error: a JSON object a line, with time, level, machine and correlation id."""

from __future__ import annotations

import json
import logging
import sys
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
