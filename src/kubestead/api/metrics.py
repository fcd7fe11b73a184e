# SPDX-License-Identifier: GPL-3.0-or-later
"""What Prometheus is told: requests, machines by state, the stream, the registry."""

from __future__ import annotations

import time
from collections import Counter as Tally
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as AsgiScope

from kubestead.model.lifecycle import STATES
from kubestead.store import Store

from .live_registry import LiveRegistry
from .stream import Broadcaster
from .version import VERSION

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_UNKNOWN = "no such path"


class Metrics:
    """The numbers of one application, in a registry of their own."""

    def __init__(self, store: Store, registry: LiveRegistry, stream: Broadcaster) -> None:
        """Count from now on."""
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "kubestead_http_requests",
            "Requests by path and status",
            ["method", "route", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "kubestead_http_request_seconds",
            "Time from a request's headers to the start of its answer",
            ["route"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._counters: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._registry.register(_State(store, registry, stream))
        ProcessCollector(namespace="kubestead", registry=self._registry)

    def seen(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        key = (method, route, status)
        found = self._counters.get(key)
        if found is None:
            found = self._requests.labels(method, route, str(status)), self._seconds.labels(route)
            self._counters[key] = found
        found[0].inc()
        found[1].observe(seconds)

    def text(self) -> bytes:
        """All of them in Prometheus' text format; StoreUnavailableError if the machines cannot be counted."""
        return generate_latest(self._registry)


class _State(Collector):
    """What is looked up when it is asked for."""

    def __init__(self, store: Store, registry: LiveRegistry, stream: Broadcaster) -> None:
        self._store, self._live, self._stream = store, registry, stream

    def describe(self) -> list[Metric]:
        """Nothing yet: looking it up would need the store."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The machines, the registry, the stream."""
        machines = GaugeMetricFamily("kubestead_machines", "Machines by state", labels=["state"])
        known = self._store.machines()
        states = Tally(record.state or "none" for record in known.values())
        content = self._live.content
        states["none"] += len(content.machines.keys() - known.keys())
        for state in (*STATES, "none"):
            machines.add_metric([state], states[state])
        yield machines
        condition = GaugeMetricFamily(
            "kubestead_registry_condition",
            "1 for the registry's condition",
            labels=["condition"],
        )
        for name in ("ok", "missing", "invalid"):
            condition.add_metric([name], float(content.condition == name))
        yield condition
        yield GaugeMetricFamily(
            "kubestead_registry_machines", "Machines of the registry in force", len(content.machines)
        )
        yield GaugeMetricFamily(
            "kubestead_registry_problems", "Problems of the registry file", len(content.problems)
        )
        yield CounterMetricFamily("kubestead_events", "Events in the store", self._store.last_event_id())
        yield GaugeMetricFamily("kubestead_stream_viewers", "Open event streams", self._stream.viewers)
        yield GaugeMetricFamily(
            "kubestead_stream_lag_seconds",
            "Age of the newest event when it was told",
            self._stream.lag,
        )
        info = GaugeMetricFamily("kubestead_info", "The version of the program", labels=["version"])
        info.add_metric([VERSION], 1)
        yield info


class Measured:
    """Counts the requests that pass, by the path as it is documented."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        """Wrap `app`."""
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()

        async def send_and_count(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", None) or scope.get("kubestead.route", _UNKNOWN)
                method = scope["method"] if route != _UNKNOWN else "any"
                self._metrics.seen(method, route, message["status"], time.perf_counter() - started)
            await send(message)

        await self._app(scope, receive, send_and_count)
