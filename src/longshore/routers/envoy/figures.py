"""Counters of one pool out of Envoy's statistics."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from longshore.clock import Clock
from longshore.routers.base import Figures
from longshore.routers.envoy.admin import Admin
from longshore.routers.envoy.cluster import Cluster
from longshore.routers.envoy.resources import UNBOUNDED_MS

#: A reply's histograms are the merge that the query before it made, so the second of two readings counts. With a
#: single reading, 23 % of the latencies were missing that its own counter had.
MERGE_S = 0.02
_WANTED = r"(upstream_rq_(3xx|4xx|5xx|completed|retry|time)|upstream_cx_connect_fail)$"


async def read_figures(admin: Admin, clock: Clock, cluster: Cluster, epoch: str) -> Figures:
    """Two readings 20 ms apart, the second one counts. Raises AdminUnavailable."""
    pattern = quote(rf"^cluster\.{re.escape(cluster.stat_name)}\.{_WANTED}")
    path = f"/stats?format=json&histogram_buckets=disjoint&filter={pattern}"
    await admin.get(path)
    await clock.sleep(MERGE_S)
    taken_over = await admin.answered_on_standby(cluster.name) if cluster.standby else 0
    return parse_figures(await admin.get_json(path), f"cluster.{cluster.stat_name}.", epoch, taken_over)


def parse_figures(answer: Mapping[str, Any], prefix: str, epoch: str, taken_over: int = 0) -> Figures:
    """Envoy's JSON as Figures. A counter that is not listed was never counted: 0."""
    counters: dict[str, int] = {}
    latency: dict[float, int] = {}
    for entry in answer.get("stats", []):
        if "histograms" in entry:
            for histogram in _details(entry["histograms"]):
                latency = _latency(histogram.get("buckets", []))
        elif "value" in entry:
            counters[str(entry["name"]).removeprefix(prefix)] = int(entry["value"])
    return Figures(
        epoch=epoch,
        requests=counters.get("upstream_rq_completed", 0),
        errors_5xx=counters.get("upstream_rq_5xx", 0),
        errors_4xx=counters.get("upstream_rq_4xx", 0),
        retries=counters.get("upstream_rq_retry", 0),
        connect_failures=counters.get("upstream_cx_connect_fail", 0),
        latency_ms=latency,
        answers_3xx=counters.get("upstream_rq_3xx", 0),
        taken_over=taken_over,
    )


def _details(histograms: Any) -> list[Mapping[str, Any]]:
    details = histograms.get("details", []) if isinstance(histograms, Mapping) else histograms
    return list(details)


def _latency(buckets: list[Mapping[str, Any]]) -> dict[float, int]:
    found: dict[float, int] = {}
    for bucket in buckets:
        bound = float(bucket["upper_bound"])
        found[math.inf if bound >= UNBOUNDED_MS else bound] = int(bucket["cumulative"])
    return found
