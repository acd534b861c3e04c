from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from longshore.drivers.base import LogLine, Output
from longshore.drivers.mock import MockDriver
from longshore.rollout.queries import Queries
from support.shop import Shop


async def test_the_log_of_an_instance_that_is_gone_is_that_of_its_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Output] = []

    async def logs(_: MockDriver, output: Output, **__: Any) -> AsyncGenerator[LogLine, None]:
        asked.append(output)
        yield LogLine("bye", 1.0, 1.0)

    monkeypatch.setattr(MockDriver, "logs", logs)
    shop = Shop(tmp_path)
    await shop.deployed("1.0", service_name="webshop")
    lines = Queries(shop.lab.world).log("shop", "shop-0-9", tail=None, since=0.0, follow=False)
    assert [line.text async for line in lines] == ["bye"]
    assert [(output.instance, output.service, output.handle) for output in asked] == [("shop-0-9", "webshop", None)]
    await shop.close()
