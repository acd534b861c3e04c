"""Envoy's files, gone or spoilt behind the manager's back: who serves goes on, and the store says what they hold."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from longshore.routers.base import RouterError, Traffic
from longshore.routers.envoy import EnvoyRouter
from longshore.routers.envoy.resources import shard_of
from support.backends import Backend, free_port
from support.envoy import A, B, Events, envoy_router, needs_envoy, pool
from support.load import Load, ask
from support.manager import until

pytestmark = needs_envoy

NAMES = ("shop", "other", "third")
FILES = ("cds.json", "lds.json", f"rds{shard_of('shop')}.json")
HARMS: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: path.unlink(),
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:100]),
    "empty": lambda path: path.write_bytes(b""),
    "no object": lambda path: path.write_text("[1, 2, 3]"),
    "binary": lambda path: path.write_bytes(os.urandom(500)),
}


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
async def router(tmp_path: Path, events: Events) -> AsyncIterator[EnvoyRouter]:
    async with envoy_router(tmp_path / "envoy", on_event=events) as router:
        await router.restore({})
        yield router


@pytest.fixture
async def v1() -> AsyncIterator[Backend]:
    async with Backend("v1") as backend:
        yield backend


@pytest.fixture
async def traffic(router: EnvoyRouter, v1: Backend) -> dict[str, Traffic]:
    found = {name: Traffic(free_port(), pool(A, v1)) for name in NAMES}
    for name, each in found.items():
        await router.apply(name, each)
    return found


@pytest.mark.parametrize("harm", HARMS)
async def test_the_next_manager_writes_anew_what_is_lost_and_nobody_notices(
    router: EnvoyRouter, traffic: dict[str, Traffic], tmp_path: Path, harm: str
) -> None:
    await router.close()
    async with AsyncExitStack() as stack:
        loads = [await stack.enter_async_context(Load(each.port, connections=2)) for each in traffic.values()]
        for file in FILES:
            HARMS[harm](tmp_path / "envoy" / file)
            events = Events()
            heir = EnvoyRouter(tmp_path / "envoy", listen_host="127.0.0.1", on_event=events)
            await heir.restore(traffic)
            assert len(events) == 1, events
            assert file in events[0][1]
            for name, each in traffic.items():
                assert await heir.verify(name, each) is True
            await loads[0].until(50)
            await heir.close()
    assert [load.summary() for load in loads if load.failures] == []


@pytest.mark.parametrize("harm", HARMS)
async def test_a_file_lost_while_the_manager_runs_is_written_whole_with_the_next_change(
    router: EnvoyRouter, traffic: dict[str, Traffic], tmp_path: Path, harm: str
) -> None:
    async with Load(traffic["other"].port, connections=2) as load, Backend("v2") as v2:
        for file in FILES:
            HARMS[harm](tmp_path / "envoy" / file)
        wanted = Traffic(traffic["shop"].port, pool(B, v2))
        await router.apply("shop", wanted)
        assert (await ask(wanted.port)).headers["x-version"] == "v2"
        assert await router.verify("other", traffic["other"]) is True
    assert load.failures == [], load.summary()


async def test_an_envoy_that_ends_after_its_files_were_lost_is_started_with_all_of_them(
    router: EnvoyRouter, traffic: dict[str, Traffic], tmp_path: Path, events: Events
) -> None:
    for file in FILES:
        HARMS["cut short"](tmp_path / "envoy" / file)
    os.kill(router._process.pid or 0, signal.SIGKILL)
    await until(lambda: len(events) == 2, "Envoy is started again")
    for name, each in traffic.items():
        assert await router.verify(name, each) is True
        assert (await ask(each.port)).status == 200


async def test_spoilt_content_that_envoy_does_read_is_refused_by_it_and_mended_by_the_next_change(
    router: EnvoyRouter, traffic: dict[str, Traffic], tmp_path: Path
) -> None:
    """Renamed over the file, as the manager does it: that is what Envoy watches for."""
    async with Load(traffic["other"].port, connections=2) as load, Backend("v2") as v2:
        (tmp_path / "envoy/spoilt").write_text('{"version_info": "9", "resources": [{"@type": "x"')
        (tmp_path / "envoy/spoilt").replace(tmp_path / "envoy/cds.json")
        await load.until(50)
        wanted = Traffic(traffic["shop"].port, pool(B, v2))
        await router.apply("shop", wanted)
        assert await router.verify("shop", wanted) is True
    assert load.failures == [], load.summary()


async def test_a_file_that_cannot_be_written_fails_the_change_with_its_path_and_what_served_serves(
    router: EnvoyRouter, traffic: dict[str, Traffic], tmp_path: Path
) -> None:
    path = tmp_path / "envoy/cds.json"
    path.unlink()
    path.mkdir()
    async with Backend("v2") as v2, Load(traffic["shop"].port, connections=2) as load:
        with pytest.raises(RouterError, match=r"cds\.json cannot be written, what it held before stands"):
            await router.apply("shop", Traffic(traffic["shop"].port, pool(B, v2)))
        await load.until(20)
        path.rmdir()
        wanted = Traffic(traffic["shop"].port, pool(B, v2))
        await router.apply("shop", wanted)
        await load.until_answered_by("v2")
    assert load.failures == [], load.summary()
