"""A real EnvoyRouter in a directory of the test's own, ended for certain with the test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from longshore.routers.base import RouterError, Target, TargetPool, Traffic
from longshore.routers.envoy import EnvoyRouter
from longshore.routers.envoy.locate import envoy_binary
from support.backends import Backend

try:
    envoy_binary(None)
    _missing = ""
except RouterError as error:
    _missing = str(error)

needs_envoy = pytest.mark.skipif(bool(_missing), reason=_missing or "Envoy is here")

#: pool ids that tests use
A, B, C = "aaaaaaa1", "bbbbbbb2", "ccccccc3"


def pool(id: str, *targets: Backend | Target, health_path: str | None = "/health") -> TargetPool:
    found = tuple(each.target if isinstance(each, Backend) else each for each in targets)
    return TargetPool(id, found, health_path)


def traffic(port: int, stable: TargetPool | None, **rest: object) -> Traffic:
    return Traffic(port, stable, **rest)  # type: ignore[arg-type]


class Events(list[tuple[str, str]]):
    def __call__(self, type: str, message: str) -> None:
        self.append((type, message))


@asynccontextmanager
async def envoy_router(directory: Path, **options: object) -> AsyncIterator[EnvoyRouter]:
    """Ends Envoy on the way out, also one that another router of this directory adopted."""
    options.setdefault("on_event", Events())
    router = EnvoyRouter(directory, listen_host="127.0.0.1", concurrency=2, **options)  # type: ignore[arg-type]
    try:
        yield router
    finally:
        await router.close()
        last = EnvoyRouter(directory, on_event=Events())
        await last.shutdown()
