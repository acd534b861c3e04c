"""Waiting until instances are ready: what went wrong is told as it is."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from longshore.errors import HealthCheckFailed
from longshore.health.readiness import NotReady
from longshore.model import Spec
from longshore.rollout.steps.health import AwaitReady
from longshore.store.sqlite import StoreUnavailable
from support.shop import Shop


def context(error: Exception | None, said: Exception | None = None) -> Any:
    async def await_ready(*_: object, **__: object) -> None:
        if error is not None:
            raise error

    def say(_: str) -> None:
        if said is not None:
            raise said

    readiness = SimpleNamespace(await_ready=await_ready)
    store = SimpleNamespace(instance=lambda id: None)
    world, spec = SimpleNamespace(readiness=readiness, store=store), Spec("shop", "1.0", "/a")
    return SimpleNamespace(world=world, spec=spec, advance=lambda: None, say=say)


async def test_a_store_that_cannot_be_written_meanwhile_is_told_as_that() -> None:
    with pytest.raises(StoreUnavailable, match="the disk is full"):
        await AwaitReady(("a", "b")).run(context(None, StoreUnavailable("the disk is full")))


async def test_an_instance_that_is_not_ready_is_a_failed_check_with_the_end_of_its_log() -> None:
    with pytest.raises(HealthCheckFailed, match="it does not listen") as caught:
        await AwaitReady(("a", "b")).run(context(NotReady("it does not listen", "its log")))
    assert caught.value.cause == "its log"


async def test_a_port_that_somebody_else_answers_on_is_no_success(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    await shop.deployed("1.0", strategy="rolling")
    shop.driver_world.strangers = dict.fromkeys(range(20000, 20100), "nc (pid 4711)")
    rollout = await shop.deploy("2.0", strategy="rolling")
    assert rollout.status == "unwound"
    assert "is not its own: nc (pid 4711) answers there" in rollout.message
    assert shop.serving() == "1.0"
    await shop.close()


async def test_an_unready_instance_is_not_healthy_again_because_of_who_took_its_port(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    await shop.deployed("1.0", strategy="rolling")
    world, store = shop.lab.world, shop.lab.store
    instance, release = store.instances("shop")[0], store.release("shop", "1.0")
    assert release is not None
    assert instance.port is not None
    assert (await world.readiness.probe_instance(instance, release.spec)).ok
    shop.driver_world.strangers[instance.port] = "nc (pid 4711)"
    world.board.mark(instance.id, "shop", ready=False, message="started again")
    result = await world.readiness.probe_instance(instance, release.spec)
    assert not result.ok
    assert "nc (pid 4711) answers there" in result.message
    await shop.close()
