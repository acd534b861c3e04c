from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest

from longshore.drivers.base import DriverError, Exit, Handle, Launch, Stopped
from longshore.drivers.mock import MockDriver, MockWorld, Script
from support.launching import launch_of
from support.output import output_of, written


class FakeClock:
    def __init__(self) -> None:
        self.time = 100.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds


def ignore(handle: Handle) -> None:
    """The persist of a test that looks elsewhere."""


@pytest.fixture
def world() -> MockWorld:
    return MockWorld(FakeClock())


@pytest.fixture
def driver(world: MockWorld) -> MockDriver:
    return MockDriver(world)


def launch(slot: int = 0, version: str = "1.0", port: int | None = None) -> Launch:
    name = f"shop-1-{slot}"
    environment = {"RELEASE_VERSION": version}
    return launch_of(Path("/srv"), instance=name, launch_id=f"{name}@{version}", environment=environment, port=port)


async def test_one_without_a_script_is_ready_at_once(world: MockWorld, driver: MockDriver) -> None:
    handle = await driver.start(launch(port=20001), ignore)
    assert world.ready(handle)
    assert world.ready("shop-1-0")
    assert world.ready_on(20001)
    assert await driver.ports(handle) == {20001}


async def test_one_that_is_never_ready_runs_all_the_same(world: MockWorld, driver: MockDriver) -> None:
    world.scripts["1.0"] = Script(never_ready=True)
    handle = await driver.start(launch(), ignore)
    assert not world.ready(handle)
    assert (await driver.inspect(handle)).state == "running"


async def test_one_ends_by_itself_on_the_clock(world: MockWorld, driver: MockDriver) -> None:
    world.scripts["1.0"] = Script(exit_after=30, exit_code=3)
    handle = await driver.start(launch(), ignore)
    assert await driver.exited(handle) == Exit(3)
    assert world.clock.now() == 130


async def test_one_ends_by_itself_though_nobody_waits(world: MockWorld, driver: MockDriver) -> None:
    world.scripts["1.0"] = Script(exit_after=30)
    handle = await driver.start(launch(), ignore)
    await world.clock.sleep(30)
    assert (await driver.inspect(handle)).exit == Exit(1)


async def test_one_is_ready_when_it_has_started_and_until_it_falls_sick(world: MockWorld, driver: MockDriver) -> None:
    world.scripts["1.0"] = Script(ready_after=5, sick_after=20)
    handle = await driver.start(launch(), ignore)
    seen = [world.ready(handle)]
    for seconds in (5, 14, 1):
        await world.clock.sleep(seconds)
        seen.append(world.ready(handle))
    assert seen == [False, True, True, False]
    assert (await driver.inspect(handle)).state == "running"


async def test_one_that_lingers_serves_no_more_and_is_gone_in_its_own_time(
    world: MockWorld, driver: MockDriver
) -> None:
    world.scripts["1.0"] = Script(lingers=4)
    handle = await driver.start(launch(), ignore)
    stopping = asyncio.create_task(driver.stop(handle, 10))
    await asyncio.sleep(0)
    stopping.cancel()  # who told it to end was killed
    assert not world.ready(handle)
    assert (await driver.inspect(handle)).state == "running"
    await world.clock.sleep(4)
    assert (await driver.inspect(handle)).exit == Exit(-15)


async def test_one_that_lingers_is_waited_for(world: MockWorld, driver: MockDriver) -> None:
    world.scripts["1.0"] = Script(lingers=4)
    handle = await driver.start(launch(), ignore)
    assert await driver.stop(handle, 10) == Stopped(Exit(-15), killed=False)
    assert world.clock.now() == 104


async def test_a_start_fails_as_the_script_says(world: MockWorld, driver: MockDriver) -> None:
    world.scripts["1.0"] = Script(start_error="no such program ./x")
    with pytest.raises(DriverError, match=r"no such program ./x"):
        await driver.start(launch(), ignore)
    assert await driver.survey() == {}


@pytest.mark.parametrize(("when", "running"), [("before", 0), ("after", 1)])
async def test_a_start_blocks_until_it_is_let_go(world: MockWorld, driver: MockDriver, when: str, running: int) -> None:
    world.scripts["1.0"] = Script(start_block=when)  # type: ignore[arg-type]
    task = asyncio.create_task(driver.start(launch(), ignore))
    while not world.blocked("1.0"):  # noqa: ASYNC110 - one turn of the loop is all it takes
        await asyncio.sleep(0)
    assert world.running() == running
    world.unblock("1.0")
    await task
    assert world.running() == 1


async def test_one_that_ignores_sigterm_is_killed(world: MockWorld, driver: MockDriver) -> None:
    world.scripts["1.0"] = Script(ignores_term=True)
    stopped = await driver.stop(await driver.start(launch(), ignore), 1000)
    assert (stopped.exit, stopped.killed) == (Exit(-9), True)


@pytest.mark.parametrize(("lie", "state"), [("start", "exited"), ("always", "running")])
async def test_a_liar_says_it_started_when_nothing_runs(
    world: MockWorld, driver: MockDriver, lie: str, state: str
) -> None:
    world.scripts["1.0"] = Script(lies=lie)  # type: ignore[arg-type]
    handle = await driver.start(launch(), ignore)
    assert (await driver.inspect(handle)).state == state
    assert (world.running(), world.ready(handle)) == (0, False)


async def test_a_crash_wakes_who_waits_for_the_exit(world: MockWorld, driver: MockDriver) -> None:
    handle = await driver.start(launch(), ignore)
    ended = asyncio.create_task(driver.exited(handle))
    await asyncio.sleep(0)
    world.kill("shop-1-0", -11)
    assert await ended == Exit(-11)


def test_killing_what_does_not_run_names_what_does(world: MockWorld) -> None:
    with pytest.raises(KeyError, match="no running instance 'x'"):
        world.kill("x")


async def test_the_world_survives_a_restart_of_the_manager(world: MockWorld, driver: MockDriver) -> None:
    handle = await driver.start(launch(), ignore)
    again = MockDriver(world)
    assert (await again.inspect(handle)).state == "running"
    assert await again.survey() == {"shop-1-0@1.0": handle}


async def test_a_manager_killed_in_persist_leaves_the_instance_running(world: MockWorld, driver: MockDriver) -> None:
    class Killed(BaseException):
        pass

    def persist(handle: Handle) -> None:
        raise Killed

    with pytest.raises(Killed):
        await driver.start(launch(), persist)
    assert list(await driver.survey()) == ["shop-1-0@1.0"]


async def test_the_most_and_the_fewest_that_ran_are_remembered(world: MockWorld, driver: MockDriver) -> None:
    handles = [await driver.start(launch(slot), ignore) for slot in range(3)]
    await world.clock.sleep(1)
    begun = world.clock.now()
    handles.append(await driver.start(launch(0, "2.0"), ignore))
    await driver.stop(handles[0], 0)
    await driver.stop(handles[1], 0)
    assert (world.most(), world.most("1.0"), world.most("2.0")) == (4, 3, 1)
    assert (world.fewest(since=begun), world.fewest("1.0", since=begun), world.fewest()) == (2, 1, 0)
    assert world.ran_together()


async def test_versions_one_after_the_other_never_ran_together(world: MockWorld, driver: MockDriver) -> None:
    await driver.stop(await driver.start(launch(), ignore), 0)
    await driver.start(launch(0, "2.0"), ignore)
    assert not world.ran_together()


async def test_output_is_followed(world: MockWorld, driver: MockDriver) -> None:
    log = Path("/logs/app")
    world.write(log, "before")
    async with aclosing(driver.logs(output_of(log), tail=0, follow=True)) as lines:
        first = asyncio.ensure_future(anext(lines))
        await asyncio.sleep(0)
        world.write(log, "a")
        assert (await first).text == "a"
    assert await written(driver, log, 5) == ["before", "a"]
