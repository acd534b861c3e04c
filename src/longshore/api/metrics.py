"""Figures for Prometheus. Few labels and none that grows with use; rendered in a thread, as rendering takes a while."""

from __future__ import annotations

import asyncio
from collections import Counter as Tally
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from longshore.api.service import Service
from longshore.model import Health, Rollout, RolloutStatus, State, WaitingFor

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

#: seconds; from a file switch to a canary that is watched for an hour
_ROLLOUT_BUCKETS = (1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)

#: rows read at once when the deployments are counted
_PAGE = 500


class Metrics:
    """The registry of one application: nothing is global, so several applications can live in one process."""

    def __init__(self, service: Service) -> None:
        self.registry = CollectorRegistry()
        self._service = service
        self._requests = Counter(
            "longshore_http_requests", "HTTP requests by route and class of status.", ["route", "status"],
            registry=self.registry,
        )  # fmt: skip
        self._rollouts = Counter(
            "longshore_rollouts", "Rollouts that are over, by kind, strategy and outcome.",
            ["kind", "strategy", "outcome"], registry=self.registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "longshore_rollout_seconds", "How long rollouts took.", ["kind"],
            buckets=_ROLLOUT_BUCKETS, registry=self.registry,
        )  # fmt: skip
        self._gauges = _Snapshot()
        self.registry.register(self._gauges)
        self._children: dict[tuple[str, int], Counter] = {}

    def request(self, route: str, status: int) -> None:
        key = (route, status // 100)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = self._requests.labels(route, f"{key[1]}xx")
        child.inc()

    def rollout_over(self, rollout: Rollout) -> None:
        kind = str(rollout.kind)
        self._rollouts.labels(kind, rollout.strategy, str(rollout.status)).inc()
        if rollout.ended_at is not None and rollout.status is not RolloutStatus.cancelled:
            self._seconds.labels(kind).observe(max(0.0, rollout.ended_at - rollout.started_at))

    async def render(self) -> bytes:
        """The exposition text. The state is read on the event loop, which owns it; only the rendering is elsewhere."""
        self._gauges.take(self._service)
        return await asyncio.to_thread(generate_latest, self.registry)


class _Snapshot(Collector):
    """Gauges of what there is, as of the last take()."""

    def __init__(self) -> None:
        self._metrics: list[Metric] = []

    def take(self, service: Service) -> None:
        states: Tally[str] = Tally({str(state): 0 for state in State})
        healths: Tally[str] = Tally({str(health): 0 for health in Health})
        waiting: Tally[str] = Tally({str(what): 0 for what in WaitingFor})
        instances: Tally[str] = Tally(desired=0, ready=0, available=0)
        for name, state, health in _summaries(service):
            states[state] += 1
            healths[health] += 1
            status = service.status(name)
            waiting.update(str(request.waiting_for) for request in status.queue)
            replicas = status.replicas
            instances.update(desired=replicas.desired, ready=replicas.ready, available=replicas.available)
        self._metrics = [
            _gauge("longshore_deployments", "Deployments by state.", "state", states),
            _gauge("longshore_deployments_health", "Deployments by health.", "health", healths),
            _gauge("longshore_instances", "Instances of all deployments: desired, ready, available.", "is", instances),
            _gauge("longshore_waiting", "Requests that have not begun, by what they wait for.", "for", waiting),
        ]

    def collect(self) -> Iterator[Metric]:
        yield from self._metrics


def _summaries(service: Service) -> Iterator[tuple[str, str, str]]:
    offset = 0
    while True:
        rows, total = service.list(environment=None, state=None, limit=_PAGE, offset=offset)
        yield from ((row.name, str(row.state), str(row.health)) for row in rows)
        offset += _PAGE
        if offset >= total:
            return


def _gauge(name: str, about: str, label: str, values: Tally[str]) -> Metric:
    family = GaugeMetricFamily(name, about, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


async def metrics(request: Request) -> Response:
    """Figures for Prometheus, as text."""
    rendered: bytes = await request.app.state.api.metrics.render()
    return Response(rendered, headers={"content-type": CONTENT_TYPE})
