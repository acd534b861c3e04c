"""What is known of each instance's health right now: written by whoever probes, read by status. Memory only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from longshore.clock import Clock
from longshore.model import HealthCheck


@dataclass(frozen=True, slots=True)
class InstanceHealth:
    """ready None: not asked yet since this manager started."""

    ready: bool | None = None
    #: when `ready` last changed, on the monotonic clock
    since: float = 0.0
    successes: int = 0
    failures: int = 0
    message: str = ""
    duration_s: float = 0.0
    #: seconds since the epoch of the last probe
    last_run: float = 0.0


UNKNOWN = InstanceHealth()


class Board:
    """Health by instance id (and by `url:NAME` for a health URL that is polled as it stands)."""

    def __init__(self, clock: Clock, changed: Callable[[str], None]) -> None:
        self._clock = clock
        #: told the deployment's name when something status shows has changed
        self._changed = changed
        self._known: dict[str, InstanceHealth] = {}
        #: instances that are not to be probed: they drain, and a probe is a connection too
        self.muted: set[str] = set()

    def of(self, id: str) -> InstanceHealth:
        return self._known.get(id, UNKNOWN)

    def record(self, id: str, deployment: str, rule: HealthCheck, *, ok: bool, message: str, duration_s: float) -> None:
        """A probe's result; `ready` follows by the thresholds of `rule`.

        The first result after a start of the manager decides alone: what served before is not unready for `interval`
        times `healthy_threshold` just because the manager was replaced.
        """
        was = self.of(id)
        successes = was.successes + 1 if ok else 0
        failures = 0 if ok else was.failures + 1
        ready = was.ready
        if ok and (was.ready is None or successes >= rule.healthy_threshold):
            ready = True
        elif not ok and (was.ready is None or failures >= rule.unhealthy_threshold):
            ready = False
        self._set(
            id,
            deployment,
            InstanceHealth(ready, was.since, successes, failures, message, duration_s, self._clock.now()),
        )

    def mark(self, id: str, deployment: str, *, ready: bool, message: str) -> None:
        """Known without a probe: it became ready in a rollout, or its process has ended."""
        was = self.of(id)
        self._set(id, deployment, replace(was, ready=ready, message=message, failures=0, last_run=self._clock.now()))

    def forget(self, id: str) -> None:
        self._known.pop(id, None)
        self.muted.discard(id)

    def _set(self, id: str, deployment: str, now: InstanceHealth) -> None:
        was = self.of(id)
        if now.ready != was.ready:
            now = replace(now, since=self._clock.monotonic())
        self._known[id] = now
        if now.ready != was.ready:
            self._changed(deployment)
