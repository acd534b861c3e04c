"""Waiting until instances are ready: what went wrong is told as it is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from longshore.errors import HealthCheckFailed
from longshore.health.readiness import NotReady
from longshore.model import Spec
from longshore.rollout.steps.health import AwaitReady
from longshore.store.sqlite import StoreUnavailable


def context(error: Exception | None, said: Exception | None = None) -> Any:
    async def await_ready(*_: object, **__: object) -> None:
        if error is not None:
            raise error

    def say(_: str) -> None:
        if said is not None:
            raise said

    readiness = SimpleNamespace(await_ready=await_ready)
    world, spec = SimpleNamespace(readiness=readiness), Spec("shop", "1.0", "/a")
    return SimpleNamespace(world=world, spec=spec, advance=lambda: None, say=say)


async def test_a_store_that_cannot_be_written_meanwhile_is_told_as_that() -> None:
    with pytest.raises(StoreUnavailable, match="the disk is full"):
        await AwaitReady(("a", "b")).run(context(None, StoreUnavailable("the disk is full")))


async def test_an_instance_that_is_not_ready_is_a_failed_check_with_the_end_of_its_log() -> None:
    with pytest.raises(HealthCheckFailed, match="it does not listen") as caught:
        await AwaitReady(("a", "b")).run(context(NotReady("it does not listen", "its log")))
    assert caught.value.cause == "its log"
