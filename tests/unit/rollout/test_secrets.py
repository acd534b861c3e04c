"""What programs print is shown in steps, progress, events, failures and logs: without their secrets, on one line."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator

import pytest

from longshore.drivers.base import LogLine
from longshore.drivers.mock import MockDriver
from longshore.masking import MASK
from longshore.model import RolloutStatus
from longshore.proc import HookResult
from longshore.rollout.steps import hooks
from support.shop import Shop

SECRET = "hunter22"


def everything_shown(shop: Shop) -> str:
    store, last = shop.lab.store, shop.last()
    return repr((store.journal(last.id), store.progress(last.id), shop.events(), last.failure, last.message))


@pytest.mark.parametrize("code", [0, 1])
async def test_the_output_of_hooks_is_shown_without_secrets(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    async def run_shell(command: str, **_: object) -> HookResult:
        return HookResult(code, False, f"connecting with {SECRET}", 0.1)

    monkeypatch.setattr(hooks, "run_shell", run_shell)
    ended = await shop.deploy("1.0", configuration={"DB_PASSWORD": SECRET}, pre_deploy_hooks=(f"login {SECRET}",))
    assert (ended.status is RolloutStatus.succeeded) is (code == 0)
    shown = everything_shown(shop)
    assert f"connecting with {MASK}" in shown
    assert SECRET not in shown


async def says_the_password(*_: object, **__: object) -> AsyncGenerator[LogLine, None]:
    yield LogLine(f"bad password {SECRET}")


async def test_the_log_of_an_instance_is_shown_without_secrets(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MockDriver, "logs", says_the_password)
    shop.script("1.0", never_ready=True)
    await shop.deploy("1.0", configuration={"DB_PASSWORD": SECRET})
    shown = everything_shown(shop)
    assert f"bad password {MASK}" in shown
    assert SECRET not in shown


async def test_the_last_words_of_an_instance_are_told_without_its_own_secrets(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.deployed("1.0", configuration={"DB_PASSWORD": SECRET})
    monkeypatch.setattr(MockDriver, "logs", says_the_password)
    instance = shop.lab.store.instance("shop-1-0")
    assert instance is not None
    assert await shop.lab.world.fleet.last_words(instance) == f"bad password {MASK}"


async def test_what_is_told_is_one_line_of_the_log(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    await shop.deployed("1.0")
    with caplog.at_level(logging.INFO):
        shop.lab.world.event("shop", "info", "said\n2026-01-01 ERROR all is lost\x1b[2J", source="test")
    assert caplog.messages == ["shop: said\\n2026-01-01 ERROR all is lost\\x1b[2J"]
