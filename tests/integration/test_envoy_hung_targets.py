"""An instance that hangs: it is there, the kernel accepts connections for it, and nobody ever answers them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from longshore.connections import connected
from longshore.demo import app
from longshore.drivers.listeners import listeners
from longshore.routers.base import RouterError, Target, Traffic
from longshore.routers.envoy import EnvoyRouter
from support.backends import Backend, free_port
from support.envoy import A, B, envoy_router, needs_envoy, pool
from support.load import Load, ask
from support.manager import bounded, until

pytestmark = needs_envoy

#: a check each second that waits a second, and another one: 3.3 s, and then Envoy passes it by. More on a busy machine
PASSED_BY_S = 10.0


@dataclass
class App:
    """The demo's application as a process of its own."""

    process: asyncio.subprocess.Process
    target: Target

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)


@asynccontextmanager
async def running(version: str) -> AsyncIterator[App]:
    port = free_port()
    environment = {"PORT": str(port), "RELEASE_VERSION": version, "PATH": os.environ["PATH"]}
    process = await asyncio.create_subprocess_exec(sys.executable, str(Path(app.__file__)), env=environment)
    try:
        await until(lambda: listeners(port), f"{version} listens")
        yield App(process, Target("127.0.0.1", port))
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.fixture
async def router(tmp_path: Path) -> AsyncIterator[EnvoyRouter]:
    async with envoy_router(tmp_path / "envoy") as router:
        await router.restore({})
        yield router


@pytest.fixture
async def apps() -> AsyncIterator[list[App]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(running(f"v{number}")) for number in range(2)]


async def passed_by(router: EnvoyRouter, target: Target) -> float:
    """Seconds until Envoy sends nothing more to it."""
    began = time.monotonic()

    async def seen() -> None:
        while True:
            hosts = await router._admin.hosts("shop")
            if target in hosts["shop.aaaaaaa1"].unhealthy:
                return
            await asyncio.sleep(0.02)

    await bounded(seen(), PASSED_BY_S, "Envoy passes it by")
    return time.monotonic() - began


async def test_an_instance_that_hangs_is_passed_by_within_seconds_and_what_it_had_is_answered_by_others_once_it_ends(
    router: EnvoyRouter, apps: list[App]
) -> None:
    port = free_port()
    await router.apply("shop", Traffic(port, pool(A, *(each.target for each in apps))))
    hung = apps[0]
    async with Load(port, connections=8, post_every=0, pause_s=0.01) as gets:
        async with Load(port, connections=8, path="/echo", post_every=1, pause_s=0.01) as posts:
            hung.send(signal.SIGSTOP)
            print(f"passed by after {await passed_by(router, hung.target):.1f} s")
            # From here on nothing new goes there, and what is there waits.
            for _ in range(50):
                assert (await asyncio.wait_for(ask(port), 5.0)).headers["x-version"] == "v1"
            active = await router._admin.stats(r"^cluster\.shop_aaaaaaa1\.upstream_rq_active$")
            assert int(next(iter(active.values()))) > 0
            assert gets.failures == posts.failures == []
            hung.send(signal.SIGKILL)
            await posts.until(100)
        await gets.until(100)
    assert gets.failures == [], gets.summary()
    # A POST may have had its effect before it hung, so it is not sent again.
    assert len(posts.failures) <= posts.connections, posts.summary()
    assert all("503" in failure.detail for failure in posts.failures), posts.summary()


async def test_an_instance_that_goes_on_after_hanging_answers_what_it_had_and_is_sent_requests_again(
    router: EnvoyRouter, apps: list[App]
) -> None:
    port = free_port()
    await router.apply("shop", Traffic(port, pool(A, *(each.target for each in apps))))
    async with Load(port, connections=12, post_every=0, pause_s=0.01) as load:
        apps[0].send(signal.SIGSTOP)
        await passed_by(router, apps[0].target)
        apps[0].send(signal.SIGCONT)
        seen = load.by_version["v0"]
        await until(lambda: load.by_version["v0"] > seen + 50, "it answers again")
    assert load.failures == [], load.summary()


async def test_one_that_hangs_does_not_hold_up_a_change_by_more_than_its_check(
    router: EnvoyRouter, apps: list[App]
) -> None:
    port = free_port()
    await router.apply("shop", Traffic(port, pool(A, *(each.target for each in apps))))
    apps[0].send(signal.SIGSTOP)
    async with Backend("v9") as fresh:
        began = time.monotonic()
        await router.apply("shop", Traffic(port, pool(B, fresh)))
        took = time.monotonic() - began
        assert (await ask(port)).headers["x-version"] == "v9"
    assert took < 4.0, took


async def test_a_drain_from_one_that_hangs_ends_with_its_bound(router: EnvoyRouter, apps: list[App]) -> None:
    port = free_port()
    await router.apply("shop", Traffic(port, pool(A, apps[0].target)))
    apps[0].send(signal.SIGSTOP)
    stuck = asyncio.create_task(ask(port))
    try:
        await until(lambda: connected([apps[0].target]), "the request is there")
        await router.apply("shop", Traffic(port, pool(B, apps[1].target)))
        left = await bounded(router.drained("shop", (apps[0].target,), 1.0), 30.0, "the drain ends, as nothing does")
        assert left == {apps[0].target}
        # Its end is what the drain could not wait for; the request, safe to repeat, goes to who serves now.
        apps[0].send(signal.SIGKILL)
        assert (await stuck).headers["x-version"] == "v1"
    finally:
        stuck.cancel()
        await asyncio.gather(stuck, return_exceptions=True)


async def test_nothing_is_kept_of_a_deployment_that_is_removed_before_its_targets_were_healthy(
    router: EnvoyRouter, apps: list[App]
) -> None:
    apps[0].send(signal.SIGSTOP)
    applying = asyncio.create_task(router.apply("shop", Traffic(free_port(), pool(A, apps[0].target))))
    await until(lambda: router._stages._unsettled, "it waits for the target")
    applying.cancel()
    await asyncio.gather(applying, return_exceptions=True)
    assert router._stages._cold
    await router.remove("shop", 0.0)
    assert not router._stages._cold
    assert not router._stages._unsettled


@pytest.mark.parametrize("after_s", [0.0, 4.0])
async def test_what_an_instance_that_left_hangs_on_is_answered_by_others_whenever_it_ends(
    router: EnvoyRouter, apps: list[App], after_s: float
) -> None:
    port = free_port()
    await router.apply("shop", Traffic(port, pool(A, apps[0].target)))
    apps[0].send(signal.SIGSTOP)
    stuck = asyncio.create_task(ask(port))
    try:
        await until(lambda: connected([apps[0].target]), "the request is there")
        await router.apply("shop", Traffic(port, pool(B, apps[1].target)))
        await asyncio.sleep(after_s)
        apps[0].send(signal.SIGKILL)
        assert (await stuck).headers["x-version"] == "v1"
        await until(lambda: set(router._stages.clusters("shop")) == {"shop.bbbbbbb2"}, "the old cluster is gone")
    finally:
        stuck.cancel()
        await asyncio.gather(stuck, return_exceptions=True)


async def test_a_candidate_that_hangs_before_it_is_sent_anything_is_refused_and_the_others_go_on(
    router: EnvoyRouter, apps: list[App], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("longshore.routers.envoy.stages.HOSTS_S", 3.0)
    port = free_port()
    before = Traffic(port, pool(A, apps[0].target))
    await router.apply("shop", before)
    apps[1].send(signal.SIGSTOP)
    async with Load(port, connections=4, post_every=0) as load:
        with pytest.raises(RouterError, match=r"does not pass Envoy's health check|being checked for the first"):
            await router.apply("shop", Traffic(port, pool(A, apps[0].target), pool(B, apps[1].target), 50))
        await load.until(50)
    assert load.failures == [], load.summary()
    assert await router.verify("shop", before) is True


async def test_where_the_only_instance_hangs_requests_wait_for_it(router: EnvoyRouter, apps: list[App]) -> None:
    port = free_port()
    await router.apply("shop", Traffic(port, pool(A, apps[0].target)))
    apps[0].send(signal.SIGSTOP)
    await passed_by(router, apps[0].target)
    waiting = asyncio.create_task(ask(port))
    await asyncio.sleep(0.5)
    assert not waiting.done()
    apps[0].send(signal.SIGCONT)
    assert (await waiting).status == 200
