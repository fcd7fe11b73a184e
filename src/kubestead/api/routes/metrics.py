# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers for Prometheus."""

from __future__ import annotations

from fastapi import Request
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from starlette.responses import Response

from kubestead.api.access import Section
from kubestead.api.auth import READ
from kubestead.api.metrics import Metrics

section = Section("Metrics")


@section.route(
    "GET", "/metrics", allow={READ}, refuses=[503], content={"text/plain": {"schema": {"type": "string"}}}
)
def get_metrics(request: Request) -> Response:
    """Give the numbers of this process, and of the machines, in Prometheus' text format."""
    metrics: Metrics = request.app.state.metrics
    return Response(metrics.text(), media_type=CONTENT_TYPE_PLAIN_0_0_4)
