"""JSON, for a program of your own: the pools with their weights, and all of their targets."""

from __future__ import annotations

import json
from typing import Any

from longshore.routers.base import TargetPool, Traffic
from longshore.routers.endpoints.base import header


def render(name: str, traffic: Traffic | None) -> str:
    pools = []
    if traffic is not None:
        weights = {"stable": 100 - traffic.weight, "candidate": traffic.weight}
        pools = [
            _pool(role, pool, weights[role])
            for role, pool in (("stable", traffic.stable), ("candidate", traffic.candidate))
            if pool is not None
        ]
    body = {
        "about": header(name),
        "deployment": name,
        "port": traffic.port if traffic is not None else None,
        "serves": traffic is not None and traffic.hold is None,
        "pools": pools,
    }
    return json.dumps(body, indent=2) + "\n"


def _pool(role: str, pool: TargetPool, weight: int) -> dict[str, Any]:
    return {
        "pool": role,
        "version": pool.version,
        "weight": weight,
        "health_path": pool.health_path,
        "targets": [
            {"instance": target.instance, "address": target.host, "port": target.port}
            for target in sorted(pool.targets)
        ],
    }
