"""What every endpoint works with, found on the application it belongs to."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.requests import HTTPConnection

from longshore.access.locks import Locks
from longshore.access.tokens import Tokens
from longshore.api.auth import Caller
from longshore.api.metrics import Metrics
from longshore.api.ratelimit import Limiter
from longshore.api.service import Service
from longshore.api.settings import ApiSettings
from longshore.doctor import Doctor
from longshore.errors import LongshoreError
from longshore.model import Rollout
from longshore.webhooks.desk import Desk

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Api:
    service: Service
    webhooks: Desk
    tokens: Tokens
    locks: Locks
    doctor: Doctor
    settings: ApiSettings
    limiter: Limiter
    metrics: Metrics
    ready: Callable[[], bool]
    version: str
    #: set when the manager stops: whatever waits ends, so that nothing keeps the server from exiting
    stopping: asyncio.Event
    #: rendered status and its ETag by name, good as long as service.stamp(name) is the same
    rendered: dict[str, tuple[int, bytes, str]] = field(default_factory=dict)
    #: tasks that outlive the request which began them, held so that they are not collected
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    now: Callable[[], float] = time.time

    def observe(self, rollout: Rollout) -> None:
        """Count the rollout in the metrics once it is over."""
        task = asyncio.create_task(self._observe(rollout.id), name=f"metrics of rollout {rollout.id}")
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _observe(self, rollout_id: str) -> None:
        try:
            self.metrics.rollout_over(await self.service.outcome(rollout_id))
        except LongshoreError as reason:
            # Interrupted by the end of the manager, or its deployment was deleted.
            log.info("rollout %s is not counted: %s", rollout_id, reason, extra={"action": "rollout_not_counted"})


def api_of(connection: HTTPConnection) -> Api:
    api: Api = connection.app.state.api
    return api


def caller_of(connection: HTTPConnection) -> Caller:
    """The caller that the guard of the route has authenticated."""
    caller: Caller = connection.scope["longshore.caller"]
    return caller
