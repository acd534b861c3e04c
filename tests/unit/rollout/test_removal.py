"""Deleting a deployment: what fails in it leaves nothing under way."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from longshore.drivers.base import DriverError, Handle
from longshore.drivers.mock import MockDriver
from longshore.errors import InternalError
from longshore.rollout.terms import Terms
from support.shop import Shop, until


async def test_a_removal_that_fails_is_over_only_when_nothing_of_it_goes_on(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.deployed("1.0")
    real, told, ends = MockDriver.stop, list[Handle](), asyncio.Event()

    async def stop(self: MockDriver, handle: Handle, grace_s: float) -> Any:
        told.append(handle)
        if handle == told[0]:
            raise DriverError("it runs as another user")
        await ends.wait()
        return await real(self, handle, grace_s)

    monkeypatch.setattr(MockDriver, "stop", stop)
    deleting = asyncio.ensure_future(shop.lab.service.delete("shop", keep_files=False, terms=Terms("ana")))
    await until(lambda: len(told) == 2, "both are told to end")
    for _ in range(100):
        await asyncio.sleep(0)
    assert not deleting.done()
    assert shop.lab.world.lock("shop").locked()
    ends.set()
    with pytest.raises(InternalError, match="only deleted in part: it runs as another user"):
        await deleting
    assert shop.driver_world.running() == 1
    assert len(shop.lab.store.instances("shop")) == 1
