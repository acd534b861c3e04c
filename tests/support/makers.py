"""Records of the model with everything filled in that a test does not care about."""

from __future__ import annotations

from typing import Any

from longshore.model import (
    Deployment,
    Instance,
    InstanceState,
    Pool,
    Release,
    ReleaseState,
    Rollout,
    RolloutKind,
    RolloutStatus,
    Routing,
    Spec,
)
from longshore.rollout.plan import View

PORT = 8080
URL = f"http://localhost:{PORT}/health"


def make_spec(version: str = "2.0", **fields: Any) -> Spec:
    return Spec(**{"name": "shop", "version": version, "artifact_path": f"/srv/{version}", **fields})


def make_release(version: str = "1.0", **fields: Any) -> Release:
    given = {
        "deployment": "shop",
        "version": version,
        "sha256": f"sha-{version}",
        "spec": make_spec(version),
        "command": "./run",
        "path": f"/data/apps/shop/releases/{version}",
        "size_bytes": 1,
        "state": ReleaseState.kept,
        "created_at": 100.0,
        "healthy_at": 101.0,
    }
    return Release(**{**given, **fields})


def make_rollout(id: str = "r1", version: str = "2.0", **fields: Any) -> Rollout:
    given = {
        "id": id,
        "deployment": "shop",
        "number": 1,
        "kind": RolloutKind.deploy,
        "version": version,
        "previous_version": None,
        "strategy": "rolling",
        "status": RolloutStatus.running,
        "spec": make_spec(version),
        "requested_by": "ana",
        "started_at": 1000.0,
    }
    return Rollout(**{**given, **fields})


def make_deployment(name: str = "shop", **fields: Any) -> Deployment:
    given = {
        "name": name,
        "environment": "default",
        "working_directory": f"/data/apps/{name}",
        "public_port": None,
        "current_version": None,
        "previous_version": None,
        "routing": None,
        "created_at": 1.0,
        "updated_at": 1.0,
    }
    return Deployment(**{**given, **fields})


def make_instances(count: int, *, version: str = "1.0", number: int = 1, **fields: Any) -> tuple[Instance, ...]:
    given = {"deployment": "shop", "state": InstanceState.running, "handle": {}, "launch_id": "x"}
    return tuple(
        Instance(id=f"shop-{number}-{slot}", version=version, slot=slot, port=20000 + slot, **{**given, **fields})
        for slot in range(count)
    )


def make_view(spec: Spec, old: int, *, was_routed: bool = True, **fields: Any) -> View:
    """A deployment on 1.0 with so many instances, about to go to `spec`; 0: its first deploy."""
    standing = make_instances(old)
    pool = Pool("aaaaaaaa", "1.0", tuple(i.id for i in standing), "/health")
    given: dict[str, Any] = {
        "name": spec.name,
        "number": 2,
        "kind": RolloutKind.deploy,
        "pool_id": "bbbbbbbb",
        "current": make_release("1.0") if standing else None,
        "serving": standing,
        "routing": Routing(PORT, pool) if standing and was_routed else None,
        "routed": spec.public_port is not None,
        "sha256": "sha-2.0",
        "command": "./run",
    }
    return View(**{**given, **fields})
