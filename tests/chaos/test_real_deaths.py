"""Deaths in the middle of things: of the manager in a step that takes its time, of instances, of the router, of all."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tarfile
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from longshore.client import ClientError
from longshore.client.results import Rollout
from longshore.demo.stage import APP
from longshore.drivers.identity import read_stat
from support.envoy import needs_envoy
from support.envoy_view import look_at_takers
from support.kills import LIGHT, REPLICAS, SHORT, nothing_lost, recovered
from support.manager import Site, bounded, open_site, until

pytestmark = [needs_envoy, pytest.mark.slow]


#: seconds: Envoy's checks come one a second, and one that passes is enough
TAKES_S = 2.5


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(tmp_path, replicas=REPLICAS) as site:
        await site.deploy("1.0", "recreate", **SHORT)
        yield site


#: where a rollout is caught: what makes it stay there, and the step
MOMENTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "hook": ("rolling", "pre_deploy_hooks", {"pre_deploy_hooks": ["sleep 300 & sleep 300"]}),
    "post-hook": ("canary", "post_deploy_hooks", {"post_deploy_hooks": ["setsid sleep 300"]}),
    "starting": ("blue-green", "await_ready", {"broken": True}),
    "drain": ("recreate", "drain", {}),
    "canary": ("canary", "watch_canary_30", {"canary": {"steps": [{"weight": 30, "pause": "60s"}, {"weight": 100}]}}),
}


async def until_step(site: Site, rollout: Rollout, name: str) -> None:
    async def reached() -> None:
        while True:
            seen = await site.client.rollout("shop", rollout.id)
            assert not seen.is_over, f"it was over before {name}: {seen.message}"
            if any(step.name == name and step.status == "running" for step in seen.steps):
                return
            await asyncio.sleep(0.02)

    await bounded(reached(), 20.0, f"{name} runs")


async def caught_in(site: Site, moment: str) -> None:
    strategy, step, fields = MOMENTS[moment]
    rollout = await site.begin("2.0", strategy, **{**SHORT, **fields})
    assert rollout is not None
    await until_step(site, rollout, step)
    if "hook" in moment:
        await until(site.hooks, "the hook's processes run")


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_manager_killed_in_the_middle_of_a_step_is_settled_by_the_next(moment: str, site: Site) -> None:
    async with site.load(**{**LIGHT, "held_s": 3.0}) as load:
        await caught_in(site, moment)
        await site.kill()
        await recovered(site, moment)
        assert await site.settled() == "1.0"
    nothing_lost(load)


@pytest.mark.parametrize("moment", MOMENTS)
async def test_sigterm_in_the_middle_of_a_rollout_ends_the_manager_within_five_seconds_and_the_next_settles_it(
    moment: str, site: Site
) -> None:
    async with site.load(**{**LIGHT, "held_s": 3.0}) as load:
        await caught_in(site, moment)
        watching = asyncio.create_task(_watch(site))
        began = time.monotonic()
        await site.manager.stop()
        took = time.monotonic() - began
        await watching
        assert took < 5.0, f"it took {took:.1f} s\n{site.manager.tail()}"
        assert not site.hooks(), "a hook went on without its manager"
        await recovered(site, moment)
        assert await site.settled() == "1.0"
    nothing_lost(load)


@pytest.mark.parametrize("end", ["kill", "abort"])
@pytest.mark.parametrize("strategy", ["recreate", "rolling"])
async def test_instances_that_were_about_to_end_are_not_taken_for_running_ones(
    strategy: str, end: str, site: Site
) -> None:
    lingering = {**SHORT, "command": [sys.executable, "polite.py"], "configuration": {"LINGER_S": "4"}}
    await site.deploy("1.1", "recreate", **lingering)
    async with site.load(**LIGHT) as load:
        rollout = await site.begin("2.0", strategy, **lingering)
        assert rollout is not None
        await until_step(site, rollout, "stop_instances")
        await asyncio.sleep(0.3)  # until SIGTERM has arrived: an application does not say so
        if end == "abort":
            await site.client.abort("shop", rollout.id)
            await site.until_over()
        else:
            await site.kill()
            await recovered(site, f"{strategy}, lingering")
        assert await site.settled() == "1.1"
    nothing_lost(load)


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive that takes seconds to unpack."""
    path = tmp_path_factory.mktemp("large") / "large.tar"
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        tar.add(APP, "app.py")
        for number in range(60_000):
            tar.addfile(tarfile.TarInfo(f"{number % 100}/{number}"))
    return path


async def fetching(site: Site, artifact: Path) -> Rollout:
    spec = {**site.spec("2.0", "rolling", **SHORT), "artifact_path": str(artifact)}
    rollout = await site.client.deploy(spec, wait=False)
    await until_step(site, rollout, "fetch_artifact")
    return rollout


async def test_sigterm_while_an_artifact_is_unpacked_ends_the_manager_within_five_seconds(
    site: Site, large: Path
) -> None:
    await fetching(site, large)
    began = time.monotonic()
    await site.manager.stop()
    assert time.monotonic() - began < 5.0
    await recovered(site, "unpack")
    assert await site.settled() == "1.0"
    assert [release.name for release in (site.data / "apps/shop/releases").iterdir()] == ["1.0"]


async def test_an_unpack_that_was_aborted_leaves_nothing_and_its_version_can_be_deployed_with_other_content(
    site: Site, large: Path
) -> None:
    rollout = await fetching(site, large)
    await site.client.abort("shop", rollout.id)
    assert (await site.until_over()).status == "unwound"
    assert [release.name for release in (site.data / "apps/shop/releases").iterdir()] == ["1.0"]
    await site.deploy("2.0", "rolling", **SHORT)
    assert await site.settled() == "2.0"


async def _watch(site: Site) -> None:
    """Somebody who follows the rollout must not keep the manager from ending."""
    with suppress(ClientError):
        async for _ in site.client.watch("shop"):
            pass


# ------------------------------------------------------------------------------------------- others that die


async def test_a_killed_instance_is_started_again_and_only_what_it_was_answering_can_be_lost(site: Site) -> None:
    async with site.load(connections=8, pause_s=0.02, websockets=0, streams=0, slow=0) as load:
        victim, pid = sorted(site.pids().items())[0]
        killed = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        await until(lambda: site.pids().get(victim, pid) != pid, "another process has taken its place")
        assert await site.settled() == "1.0"
        events = (await site.client.events("shop")).events
    assert any(victim in each.message and "starting it again" in each.message for each in events), events
    for loss in load.ledger.losses():
        # What was sent to it and is not safe to send again is lost with it, and nothing else, and nothing later.
        assert loss.kind == "post", loss
        assert loss.ended - killed < 1.0, loss


async def test_a_killed_router_is_started_again_while_the_instances_go_on(site: Site) -> None:
    pids, envoy = site.pids(), site.envoy()
    assert envoy is not None
    os.kill(envoy.pid, signal.SIGKILL)
    again = await until(lambda: (found := site.envoy()) is not None and found.pid != envoy.pid and found, "it runs")
    assert again.sid == again.pid, "it would die with the manager's session"

    async def serves() -> None:
        while True:
            with suppress(Exception):
                await site.answers(1)
                return
            await asyncio.sleep(0.02)

    await bounded(serves(), 5.0, "requests are answered again")
    async with site.load(**LIGHT) as load:
        await site.deploy("2.0", "rolling", **SHORT)
    nothing_lost(load)
    assert not set(pids.values()) & set(site.pids().values())
    assert await site.settled() == "2.0"


async def test_a_router_killed_together_with_the_manager_is_back_with_the_next_one(site: Site) -> None:
    pids, envoy = site.pids(), site.envoy()
    assert envoy is not None
    await site.kill()
    os.kill(envoy.pid, signal.SIGKILL)
    await site.restart()
    assert await site.settled() == "1.0"
    assert site.pids() == pids, "instances were touched"


async def test_a_second_manager_is_refused_by_name_even_while_the_first_stands_still(site: Site) -> None:
    async def second() -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "longshore", "serve", "--listen", "127.0.0.1:0"),
            *("--data-dir", str(site.data)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            output, _ = await bounded(process.communicate(), 15.0, "the second manager gives up")
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return process.returncode, output.decode()

    async with site.load(**LIGHT) as load:
        for stopped in (False, True):
            if stopped:
                os.kill(site.manager.pid, signal.SIGSTOP)
                await until(lambda: (stat := read_stat(site.manager.pid)) and stat.state == "T", "it stands still")
            status, output = await second()
            assert status not in (0, None), output
            assert f"pid {site.manager.pid}" in output, output
            assert str(site.data) in output
            assert "Traceback" not in output
        os.kill(site.manager.pid, signal.SIGCONT)
        await site.deploy("2.0", "rolling", **SHORT)
        assert await site.settled() == "2.0"
    nothing_lost(load)


async def test_a_machine_that_loses_everything_but_its_disk_serves_the_same_version_again(site: Site) -> None:
    """The manager, the router and every instance die at once, as in a power cut."""
    await site.deploy("2.0", "blue-green", **SHORT)
    await site.kill()
    await site.end_remains()
    await site.restart()
    assert await site.settled(extra=REPLICAS) == "2.0"


@pytest.mark.parametrize(("killed", "end"), [("stable", "promote"), ("stable", "abort"), ("candidate", "unwind")])
async def test_the_last_instance_of_one_version_killed_in_a_canary_costs_what_it_was_answering_and_no_more(
    killed: str, end: str, tmp_path: Path
) -> None:
    """The other version answers for it. A dead candidate fails the rollout, a stable instance is started again."""
    async with open_site(tmp_path, replicas=1) as site:
        await site.deploy("1.0", "recreate", **SHORT)
        steps = [{"weight": 50, "pause": "manual"}, {"weight": 100, "pause": "200ms"}]
        async with site.load(connections=8, pause_s=0.01, websockets=0, streams=0, slow=0) as load:
            rollout = await site.begin("2.0", "canary", canary={"steps": steps})
            assert rollout is not None
            await until_status(site, rollout, "paused")
            await site.answers(10)
            pids, stable = site.pids(), set(site.committed())
            (victim,) = stable if killed == "stable" else pids.keys() - stable
            os.kill(pids[victim], signal.SIGKILL)
            died = time.monotonic()
            if killed == "stable":
                await until(lambda: site.pids().get(victim, pids[victim]) != pids[victim], "it is started again")
                await until_answered_by(site, "1.0")
                assert (await site.client.rollout("shop", rollout.id)).status == "paused"
                await (site.client.promote if end == "promote" else site.client.abort)("shop", rollout.id)
            over = await site.until_over()
        assert over.status == ("succeeded" if end == "promote" else "unwound"), over.message
        assert await site.settled() == ("2.0" if end == "promote" else "1.0")
        losses = load.ledger.losses()
        assert len(losses) <= 8, losses
        for loss in losses:
            assert loss.kind == "post", loss
            assert loss.ended - died < 1.0, loss


async def until_status(site: Site, rollout: Rollout, status: str) -> None:
    async def reached() -> None:
        while True:
            seen = await site.client.rollout("shop", rollout.id)
            if seen.status == status:
                return
            assert not seen.is_over, f"it was over before it was {status}: {seen.message}"
            await asyncio.sleep(0.02)

    await bounded(reached(), 20.0, f"the rollout is {status}")


async def until_answered_by(site: Site, version: str) -> None:
    async def answered() -> None:
        while True:
            if version in await site.answers():
                return
            await asyncio.sleep(0.02)

    await bounded(answered(), 15.0, f"{version} answers")


async def test_an_instance_takes_requests_again_soon_after_it_runs_however_often_it_was_killed(site: Site) -> None:
    """Envoy leaves out what refuses connections, each time for longer; but no longer than until a check passes."""
    async with site.load(**LIGHT):
        for _ in range(4):
            victim = site.committed()[0]
            pid = site.pids()[victim]
            os.kill(pid, signal.SIGKILL)
            await until(lambda victim=victim, pid=pid: site.pids().get(victim, pid) != pid, "it runs again", 20.0)
            await site.until_healthy()
            await bounded(until_all_take_requests(site), TAKES_S, "Envoy sends requests to every instance")


async def until_all_take_requests(site: Site) -> None:
    while len((await look_at_takers(site.data)).takers("shop")) < REPLICAS:  # noqa: ASYNC110 - only Envoy knows
        await asyncio.sleep(0.02)
