"""Keeping Envoy: adopted, restarted, refused things, ports that come and go."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from longshore.routers.base import RouterError, Traffic
from longshore.routers.envoy import EnvoyRouter, locate, logs
from longshore.routers.envoy.routes import virtual_host
from support.backends import Backend, free_port
from support.envoy import A, B, C, Events, envoy_router, needs_envoy, pool
from support.load import Client, Load, RequestFailed, ask

pytestmark = needs_envoy


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


def another(tmp_path: Path, events: Events) -> EnvoyRouter:
    """The router of the next manager, on the same directory."""
    return EnvoyRouter(tmp_path / "envoy", listen_host="127.0.0.1", on_event=events)


async def test_without_deployments_nothing_is_started(router: EnvoyRouter, tmp_path: Path) -> None:
    assert router._process.pid is None
    assert not (tmp_path / "envoy/boot.json").exists()


async def test_envoy_accepts_everything_that_can_be_written(router: EnvoyRouter, v1: Backend) -> None:
    port, empty = free_port(), pool(C)
    for traffic in (
        Traffic(port, pool(A, v1)),
        Traffic(port, pool(A, v1), pool(B, v1, health_path=None), 5),
        Traffic(port, pool(A, v1), pool(B, v1), 25, sticky=True),
        Traffic(port, pool(A, v1), pool(B, v1), 100),
        Traffic(port, empty, hold=30.0),
        Traffic(port, empty, hold=0),
        Traffic(port, None),
    ):
        await router.apply("my-shop", traffic)
        assert await router.verify("my-shop", traffic) is True


async def test_envoys_files_and_socket_are_the_users_alone(router: EnvoyRouter, v1: Backend, tmp_path: Path) -> None:
    await router.apply("shop", Traffic(free_port(), pool(A, v1)))
    assert stat.S_IMODE((tmp_path / "envoy").stat().st_mode) == 0o700
    assert stat.S_IMODE(router._admin.path.stat().st_mode) == 0o600


async def test_envoy_inherits_nothing_but_its_lock(router: EnvoyRouter, v1: Backend, tmp_path: Path) -> None:
    os.set_inheritable(leak := os.open(tmp_path, os.O_RDONLY), True)
    await router.apply("shop", Traffic(free_port(), pool(A, v1)))
    os.close(leak)
    pid = router._process.pid
    files = await asyncio.to_thread(lambda: {p.name: str(p.readlink()) for p in Path(f"/proc/{pid}/fd").iterdir()})
    assert str(tmp_path / "envoy/lock") in files.values()
    assert str(tmp_path) not in files.values()
    assert {files["0"], files["1"], files["2"]} == {os.devnull}
    assert os.getsid(pid or 0) == pid
    environment = await asyncio.to_thread(lambda: Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
    assert {each.partition(b"=")[0] for each in environment if each} <= {b"PATH", b"PWD"}


async def test_a_change_that_changes_nothing_writes_nothing(router: EnvoyRouter, v1: Backend, tmp_path: Path) -> None:
    traffic = Traffic(free_port(), pool(A, v1))
    await router.apply("shop", traffic)
    before = {file.path: file.version for file in router._files.all}
    await router.apply("shop", traffic)
    assert {file.path: file.version for file in router._files.all} == before


async def test_a_taken_port_is_refused_with_its_holder_and_harms_nothing(router: EnvoyRouter, v1: Backend) -> None:
    port = free_port()
    await router.apply("shop", Traffic(port, pool(A, v1)))
    async with Backend("stranger") as stranger, Load(port) as load:
        with pytest.raises(RouterError, match=rf"taken by .*{os.getpid()}.*Address already in use"):
            await router.apply("other", Traffic(stranger.port, pool(B, v1)))
        assert await router.verify("shop", Traffic(port, pool(A, v1))) is True
        await router.apply("third", Traffic(free_port(), pool(C, v1)))
        await load.until(100)
    assert load.failures == []
    assert await router.read("other") is None
    assert not router._holds("other")


async def test_a_target_that_is_not_healthy_is_an_error_and_what_served_serves(
    router: EnvoyRouter, v1: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("longshore.routers.envoy.stages.HOSTS_S", 1.5)
    port = free_port()
    before = Traffic(port, pool(A, v1))
    await router.apply("shop", before)
    async with Backend("v2") as ill, Load(port) as load:
        ill.health = 500
        with pytest.raises(RouterError, match=r"does not pass Envoy's health check \(/health\)"):
            await router.apply("shop", Traffic(port, pool(B, ill)))
        await load.until(100)
    assert load.failures == []
    assert set(load.by_version) == {"v1"}
    assert await router.read("shop") == before
    assert await router.verify("shop", before) is True


@pytest.mark.parametrize("hold", [None, 30.0], ids=["shift", "hold"])
async def test_a_change_that_was_cancelled_and_is_made_again_waits_until_its_targets_are_healthy(
    router: EnvoyRouter, v1: Backend, hold: float | None
) -> None:
    port = free_port()
    await router.apply("shop", Traffic(port, pool(A, v1)))
    async with Backend("v2") as v2, Load(port, connections=4) as load:
        if hold:
            await router.apply("shop", Traffic(port, pool(C), hold=hold))
        v2.health = 500
        wanted = Traffic(port, pool(B, v2))
        first = asyncio.create_task(router.apply("shop", wanted))
        await until(lambda: "shop.bbbbbbb2" in router._stages.clusters("shop"), "the target is told of")
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        # What the application has in the way of a port is still refusing while it starts again.
        await v2.die()
        again = asyncio.create_task(router.apply("shop", wanted))
        await asyncio.sleep(0.5)
        assert not again.done()
        v2.health = 200
        await v2.start()
        await again
        await load.until_answered_by("v2")
    assert load.failures == [], load.summary()


async def test_a_target_that_never_came_up_does_not_hold_up_the_way_back(router: EnvoyRouter, v1: Backend) -> None:
    port = free_port()
    before = Traffic(port, pool(A, v1))
    await router.apply("shop", before)
    async with Backend("v2") as ill, Load(port, connections=4) as load:
        ill.health = 500
        move = asyncio.create_task(router.apply("shop", Traffic(port, pool(A, v1), pool(B, ill), 50)))
        await until(lambda: "shop.bbbbbbb2" in router._stages.clusters("shop"), "the target is told of")
        move.cancel()
        await asyncio.gather(move, return_exceptions=True)
        await asyncio.wait_for(router.apply("shop", before), 5.0)
        await load.until(50)
    assert load.failures == [], load.summary()


async def test_another_port_is_added_before_the_old_one_goes(router: EnvoyRouter, v1: Backend) -> None:
    old, new = free_port(), free_port()
    await router.apply("shop", Traffic(old, pool(A, v1)))
    async with Load(old) as load:
        await load.until(50)
        await router.apply("shop", Traffic(new, pool(A, v1)))
        await load.until(50)
    assert load.failures == []
    assert (await ask(new)).status == 200
    with pytest.raises(RequestFailed, match="refused"):
        await ask(old)


async def test_removal_lets_requests_in_flight_end_and_refuses_new_ones(router: EnvoyRouter, v1: Backend) -> None:
    port, kept = free_port(), free_port()
    await router.apply("kept", Traffic(kept, pool(B, v1)))
    await router.apply("shop", Traffic(port, pool(A, v1)))
    client = Client(port)
    assert (await client.request()).status == 200
    slow = asyncio.create_task(ask(port, "/slow?0.5"))
    await until(lambda: v1.requests == 2, "the slow request to arrive")
    async with Load(kept) as load:
        await router.remove("shop", 5.0)
        await load.until(50)
    assert (await slow).status == 200
    assert load.failures == []
    with pytest.raises(RequestFailed, match="refused"):
        await ask(port)
    assert (await client.request()).status == 404
    client.close()


async def test_a_removed_port_can_be_used_again_at_once(router: EnvoyRouter, v1: Backend) -> None:
    traffic = Traffic(free_port(), pool(A, v1))
    await router.apply("shop", traffic)
    await router.remove("shop", 0.1)
    await router.apply("other", traffic)
    assert (await ask(traffic.port)).status == 200


async def test_the_next_manager_adopts_without_disturbing_anything(
    router: EnvoyRouter, v1: Backend, tmp_path: Path
) -> None:
    traffic = Traffic(free_port(), pool(A, v1))
    await router.apply("shop", traffic)
    pid, versions = router._process.pid, {file.path: file.version for file in router._files.all}
    async with Load(traffic.port) as load:
        await router.close()
        events = Events()
        heir = another(tmp_path, events)
        await heir.restore({"shop": traffic})
        await load.until(100)
    assert load.failures == []
    assert heir._process.pid == pid
    assert {file.path: file.version for file in heir._files.all} == versions
    assert await heir.verify("shop", traffic) is True
    assert events == []
    await heir.close()


async def test_the_next_manager_finishes_what_a_crash_interrupted(
    router: EnvoyRouter, v1: Backend, tmp_path: Path
) -> None:
    port = free_port()
    await router.apply("shop", Traffic(port, pool(A, v1)))
    await router.apply("gone", Traffic(free_port(), pool(C, v1)))
    async with Backend("v2") as v2, Load(port) as load:
        wanted = Traffic(port, pool(B, v2))
        # What a crash between two writes leaves: routes of neither the old nor the wanted traffic.
        await router._stages.shift("shop", virtual_host("shop", Traffic(port, pool(A, v1))))
        await router.close()
        events = Events()
        heir = another(tmp_path, events)
        await heir.restore({"shop": wanted})
        await load.until_answered_by("v2")
        assert await heir.verify("shop", wanted) is True
        assert not heir._holds("gone")
        assert [type for type, _ in events] == ["warning"]
        await load.stop()
        await heir.close()
    assert load.failures == []


@pytest.mark.parametrize("comes_back", ["new", "old"])
async def test_held_requests_outlive_the_manager(
    router: EnvoyRouter, v1: Backend, tmp_path: Path, comes_back: str
) -> None:
    port = free_port()
    await router.apply("shop", Traffic(port, pool(A, v1)))
    held = Traffic(port, pool(B), hold=30.0)
    async with Load(port) as load:
        await router.apply("shop", held)
        await load.until_waiting()
        await router.close()
        heir = another(tmp_path, Events())
        traffic = Traffic(port, pool(B if comes_back == "new" else A, v1))
        await heir.restore({"shop": held if comes_back == "new" else traffic})
        await heir.apply("shop", traffic)
        await load.until(100)
    assert load.failures == [], load.summary()
    await heir.close()


async def test_an_empty_store_does_not_empty_the_router(router: EnvoyRouter, v1: Backend, tmp_path: Path) -> None:
    port = free_port()
    await router.apply("shop", Traffic(port, pool(A, v1)))
    await router.close()
    events = Events()
    heir = another(tmp_path, events)
    await heir.restore({})
    assert (await ask(port)).status == 200
    assert "left as it is" in events[0][1]
    await heir.remove("shop", 1.0)
    await heir.close()


async def test_envoy_killed_is_started_again_at_once(router: EnvoyRouter, v1: Backend, events: Events) -> None:
    traffic = Traffic(free_port(), pool(A, v1))
    await router.apply("shop", traffic)
    first, figures = router._process.pid, await router.figures("shop", A)
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await until(lambda: len(events) == 2, "Envoy to be started again")
    assert router._process.pid not in (None, first)
    assert await router.verify("shop", traffic) is True
    assert (await ask(traffic.port)).status == 200
    after = await router.figures("shop", A)
    assert figures is not None
    assert after is not None
    assert figures.epoch != after.epoch
    assert [type for type, _ in events] == ["error", "warning"]


async def test_envoy_killed_again_and_again_is_started_each_time(
    router: EnvoyRouter, v1: Backend, events: Events
) -> None:
    traffic = Traffic(free_port(), pool(A, v1))
    await router.apply("shop", traffic)
    for turn in range(1, 5):
        os.kill(router._process.pid or 0, signal.SIGKILL)
        await until(lambda turn=turn: len(events) == 2 * turn, "Envoy to be started again")  # type: ignore[misc]
    assert (await ask(traffic.port)).status == 200


async def test_an_envoy_of_its_own_unit_is_adopted_without_a_lock(
    router: EnvoyRouter, v1: Backend, tmp_path: Path
) -> None:
    traffic = Traffic(free_port(), pool(A, v1))
    await router.apply("shop", traffic)
    argv = router._process.command(locate.envoy_binary(None))
    await router.shutdown()
    unit = await asyncio.create_subprocess_exec(
        *argv, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await until_ready(router)
        heir = another(tmp_path, Events())
        await heir.restore({"shop": traffic})
        assert heir._process.pid == unit.pid
        assert (await ask(traffic.port)).status == 200
        await heir.close()
    finally:
        unit.terminate()
        await unit.wait()


async def test_a_change_made_while_envoy_is_away_is_in_effect_afterwards(router: EnvoyRouter, v1: Backend) -> None:
    port = free_port()
    await router.apply("shop", Traffic(port, pool(A, v1)))
    assert router._process.pid is not None
    os.kill(router._process.pid, signal.SIGKILL)
    async with Backend("v2") as v2:
        await router.apply("shop", Traffic(port, pool(B, v2)))
        assert (await ask(port)).headers["x-version"] == "v2"


async def test_envoy_gone_with_its_machine_is_started_with_the_whole_state(
    router: EnvoyRouter, v1: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("longshore.routers.envoy.keeper.ROUND_S", 0.1)
    traffic = {name: Traffic(free_port(), pool(A, v1)) for name in ("shop", "other")}
    for name, each in traffic.items():
        await router.apply(name, each)
    await router.shutdown()
    assert await router.verify("shop", traffic["shop"]) is False
    events = Events()
    heir = another(tmp_path, events)
    # Somebody else took one of the ports meanwhile: the other deployment serves, this one as soon as it can.
    async with Backend("stranger", port=traffic["other"].port):
        await heir.restore(traffic)
        assert (await ask(traffic["shop"].port)).status == 200
        assert "is taken by" in events[0][1]
        assert await heir.verify("shop", traffic["shop"]) is True
        assert await heir.verify("other", traffic["other"]) is False
    await until(lambda: len(events) == 2, "the port to be tried again")
    assert "free again" in events[1][1]
    assert await heir.verify("other", traffic["other"]) is True
    await heir.close()


async def test_a_second_envoy_is_never_started_beside_one_whose_admin_socket_is_lost(
    router: EnvoyRouter, v1: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("longshore.routers.envoy.process.ADOPT_S", 0.3)
    traffic = Traffic(free_port(), pool(A, v1))
    await router.apply("shop", traffic)
    router._admin.path.rename(tmp_path / "lost")
    heir = another(tmp_path, Events())
    with pytest.raises(RouterError, match="does not answer"):
        await heir.restore({"shop": traffic})
    assert (await ask(traffic.port)).status == 200
    (tmp_path / "lost").rename(router._admin.path)


async def test_an_envoy_that_cannot_start_says_why(tmp_path: Path, v1: Backend) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    router = EnvoyRouter(tmp_path / "envoy", envoy_path=broken, on_event=Events())
    with pytest.raises(RouterError, match="Envoy did not start"):
        await router.apply("shop", Traffic(free_port(), pool(A, v1)))
    assert not (await router.fingerprint()).usable
    await router.close()


async def test_two_deployments_change_at_once_without_harm(router: EnvoyRouter, v1: Backend) -> None:
    ports = {f"app-{number}": free_port() for number in range(8)}
    async with Backend("v2") as v2, AsyncExitStack() as stack:
        await asyncio.gather(*(router.apply(name, Traffic(port, pool(A, v1))) for name, port in ports.items()))
        loads = [await stack.enter_async_context(Load(port, connections=1)) for port in ports.values()]
        for _ in range(3):
            for backend, id in ((v2, B), (v1, A)):
                await asyncio.gather(
                    *(router.apply(name, Traffic(port, pool(id, backend))) for name, port in ports.items())
                )
    assert [load.summary() for load in loads if load.failures] == []


async def test_a_deep_directory_works(tmp_path: Path, v1: Backend) -> None:
    async with envoy_router(tmp_path / ("deep" * 30)) as router:
        traffic = Traffic(free_port(), pool(A, v1))
        await router.apply("shop", traffic)
        assert await router.verify("shop", traffic) is True


async def test_the_log_is_begun_anew_when_it_is_large(router: EnvoyRouter, v1: Backend) -> None:
    await router.apply("shop", Traffic(free_port(), pool(A, v1)))
    log = router._process.log
    for _ in range(logs.KEPT + 1):
        with log.open("a") as file:
            file.write("x" * 100)
        assert await logs.rotate(log, router._admin, limit=50)
    assert not await logs.rotate(log, router._admin, limit=50)
    # Envoy begins the new one with the next thing it has to say, and that is found there.
    with pytest.raises(RouterError, match="Address already in use"):
        await router.apply("other", Traffic(v1.port, pool(B, v1)))
    assert sorted(each.name for each in log.parent.glob("envoy.log*")) == ["envoy.log", "envoy.log.1", "envoy.log.2"]


async def test_the_files_are_a_constant_number(router: EnvoyRouter, v1: Backend, tmp_path: Path) -> None:
    for number in range(3):
        await router.apply(f"app-{number}", Traffic(free_port(), pool(A, v1)))
    watched = [p for p in (tmp_path / "envoy").glob("*.json") if "version_info" in json.loads(p.read_text())]
    assert len(watched) == 18


async def until_ready(router: EnvoyRouter) -> None:
    for _ in range(1000):
        if await router._admin.ready():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("Envoy was not ready within 10 s")


async def until(reached: Callable[[], bool], what: str, bound_s: float = 15.0) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + bound_s
    while not reached():
        assert loop.time() < deadline, f"waited {bound_s:g} s for {what}"
        await asyncio.sleep(0.005)
