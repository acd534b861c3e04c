"""An Envoy that neither ends nor answers, and one that is deaf: what is noticed, and what is done about it."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from longshore.drivers.identity import read_stat
from longshore.routers.base import Traffic
from longshore.routers.envoy import EnvoyRouter
from support.backends import Backend, free_port
from support.envoy import A, B, Events, envoy_router, needs_envoy, pool
from support.load import Load, ask
from support.manager import until

pytestmark = needs_envoy


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"HUNG_S": 1.0, "ANSWER_S": 0.3, "BEAT_S": 0.1}.items():
        monkeypatch.setattr(f"longshore.routers.envoy.pulse.{name}", seconds)
    monkeypatch.setattr("longshore.routers.envoy.keeper.BEAT_S", 0.1)


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
async def router(tmp_path: Path, events: Events) -> AsyncIterator[EnvoyRouter]:
    async with envoy_router(tmp_path / "envoy", on_event=events) as router:
        await router.restore({})
        yield router


@pytest.fixture
async def traffic(router: EnvoyRouter) -> AsyncIterator[Traffic]:
    async with Backend("v1") as backend:
        traffic = Traffic(free_port(), pool(A, backend))
        await router.apply("shop", traffic)
        yield traffic


def stopped(router: EnvoyRouter) -> int:
    """Its pid, once it stands still."""
    pid = router._process.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    return pid


def gone(pid: int) -> bool:
    stat = read_stat(pid)
    return stat is None or stat.dead


async def test_an_envoy_that_answers_nobody_is_replaced(router: EnvoyRouter, traffic: Traffic, events: Events) -> None:
    pid = stopped(router)
    await until(lambda: any("serves again" in message for _, message in events), "another Envoy serves")
    assert gone(pid)
    assert router._process.pid not in (None, pid)
    assert (await ask(traffic.port)).status == 200
    assert await router.verify("shop", traffic) is True
    assert f"Envoy (pid {pid}) is hung" in events[0][1]
    assert [type for type, _ in events] == ["error", "error", "warning"]


async def test_an_envoy_that_stands_still_for_less_than_the_bound_is_left_alone(
    router: EnvoyRouter, traffic: Traffic, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("longshore.routers.envoy.pulse.HUNG_S", 60.0)
    seen: list[str] = []
    ask_once = router._keeper._new_pulse

    async with Load(traffic.port, connections=4) as load:
        pid = stopped(router)
        pulse = ask_once()
        while len(seen) < 4:
            seen.append(await pulse.ask())
        os.kill(pid, signal.SIGCONT)
        await load.until(100)
    assert set(seen) == {"silent"}
    assert await pulse.ask() == "fine"
    assert load.failures == [], load.summary()
    assert router._process.pid == pid
    assert events == []


async def test_a_deaf_envoy_goes_on_serving_and_is_told_of_once(
    router: EnvoyRouter, traffic: Traffic, events: Events, tmp_path: Path
) -> None:
    pid = router._process.pid
    async with Load(traffic.port, connections=4) as load:
        router._admin.path.rename(tmp_path / "lost")
        await until(lambda: events, "it is noticed")
        await load.until(200)
        (tmp_path / "lost").rename(router._admin.path)
    assert load.failures == [], load.summary()
    assert router._process.pid == pid
    assert await router.verify("shop", traffic) is True
    assert len(events) == 1
    assert f"kill {pid}" in events[0][1]


async def test_no_application_hears_of_the_askings(router: EnvoyRouter, tmp_path: Path) -> None:
    async with Backend("v1") as backend:
        await router.apply("shop", Traffic(free_port(), pool(A, backend)))
        pulse = router._keeper._new_pulse()
        assert await pulse.ask() == "fine"
        router._admin.path.rename(tmp_path / "lost")
        assert await pulse.ask() == "deaf"
        (tmp_path / "lost").rename(router._admin.path)
        assert backend.requests == 0


async def test_the_next_manager_replaces_an_envoy_that_answers_nobody(
    router: EnvoyRouter, traffic: Traffic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("longshore.routers.envoy.process.ADOPT_S", 0.3)
    monkeypatch.setattr("longshore.routers.envoy.admin.ANSWER_S", 0.1)
    await router.close()
    pid = router._admin.peer_pid()
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    events = Events()
    heir = EnvoyRouter(tmp_path / "envoy", listen_host="127.0.0.1", on_event=events)
    await heir.restore({"shop": traffic})
    assert gone(pid)
    assert (await ask(traffic.port)).status == 200
    assert [type for type, _ in events] == ["error"]
    await heir.close()


async def test_a_change_that_meets_a_hung_envoy_is_in_effect_once_that_is_replaced(
    router: EnvoyRouter, traffic: Traffic, events: Events
) -> None:
    stopped(router)
    async with Backend("v2") as v2:
        wanted = Traffic(traffic.port, pool(B, v2))
        await router.apply("shop", wanted)
        assert (await ask(traffic.port)).headers["x-version"] == "v2"
        assert await router.verify("shop", wanted) is True
    assert "is hung" in events[0][1]
