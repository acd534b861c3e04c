"""The check of the whole under traffic: how long it asks what does not answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from longshore.health.probes import Check, ProbeResult
from longshore.health.readiness import ROUTER_S, Readiness
from support.engine import Clock
from support.makers import make_spec

PORT = 8080
SPEC = make_spec(health_check_url=f"http://localhost:{PORT}/health")
PUBLIC = Check("http", port=PORT, path="/health", timeout_s=SPEC.health_check.timeout)


class Probes:
    """Refused until this time; then this answer for ever."""

    def __init__(self, clock: Clock, until: float, ok: bool) -> None:
        self._clock, self._until, self._ok = clock, until, ok
        self.asked = 0

    async def probe(self, check: Check) -> ProbeResult:
        self.asked += 1
        refused = self._clock.monotonic() < self._until
        return ProbeResult(self._ok and not refused, "asked", 0.0, refused)


async def asked(check: Check, *, refused_s: float, ok: bool) -> tuple[bool, int, float]:
    """Whether it passes, after how many probes, in seconds."""
    clock = Clock()
    began = clock.monotonic()
    probes = Probes(clock, began + refused_s, ok)
    unused: Any = None
    readiness = Readiness(
        fleet=unused, store=unused, clock=clock, driver_of=unused, board=unused, prober=probes  # type: ignore[arg-type]
    )  # fmt: skip
    result = await readiness.await_check(check, SPEC)
    return result.ok, probes.asked, clock.monotonic() - began


async def test_a_router_that_is_being_started_again_is_waited_for() -> None:
    ok, _, took = await asked(PUBLIC, refused_s=2.0, ok=True)
    assert ok
    assert 2.0 <= took < ROUTER_S


async def test_one_that_does_not_come_back_fails_the_check_in_the_end() -> None:
    ok, _, took = await asked(PUBLIC, refused_s=1000.0, ok=True)
    assert not ok
    assert ROUTER_S <= took < ROUTER_S + 2


@pytest.mark.parametrize(
    ("check", "refused_s"),
    [(PUBLIC, 0.0), (replace(PUBLIC, port=PORT + 1), 1000.0), (replace(PUBLIC, host="10.0.0.5"), 1000.0)],
)
async def test_a_bad_answer_and_an_instance_that_refuses_are_asked_as_often_as_makes_one_unready(
    check: Check, refused_s: float
) -> None:
    ok, times, took = await asked(check, refused_s=refused_s, ok=False)
    assert (ok, times) == (False, SPEC.health_check.unhealthy_threshold)
    assert took < 1
