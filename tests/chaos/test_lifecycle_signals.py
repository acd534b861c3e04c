"""How a manager ends: SIGTERM, SIGINT, SIGHUP, once and twice, while it starts, and whatever a thread of it is at."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from longshore.demo.manager import Manager
from support.kills import SHORT
from support.manager import Site, bounded, open_site, until
from support.signals import heard

pytestmark = pytest.mark.slow

PROMISED_S = 5.0
SLOW_DISK = Path(__file__).parents[1] / "support/slow_disk_manager.py"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    with heard():
        async with open_site(tmp_path, replicas=1) as site:
            yield site


async def ended(manager: Manager, *sent: signal.Signals) -> int:
    """Send these, one right after the other; the exit code, once it has ended in time."""
    began = time.monotonic()
    for number in sent:
        os.kill(manager.pid, number)
    process = manager._process
    assert process is not None
    status = await bounded(process.wait(), PROMISED_S + 1.0, f"it ends\n{manager.tail()}")
    assert time.monotonic() - began < PROMISED_S
    return int(status)


async def test_each_of_these_signals_ends_a_manager_in_order_however_often_it_comes(site: Site) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        assert await ended(site.manager, number, number, number) == 0
        assert f"{number.name}: stopping" in site.manager.tail()
        assert not (site.data / "server.json").exists()
        await site.restart()


async def test_a_signal_while_it_ends_does_not_break_that_off(site: Site) -> None:
    """Between the end of the API and that of the process: what hooks have started is ended in there."""
    await site.begin("1.0", "rolling", **SHORT, pre_deploy_hooks=["trap '' TERM; sleep 300 & sleep 300"])
    await until(site.hooks, "the hook's processes run")
    os.kill(site.manager.pid, signal.SIGTERM)
    await until(lambda: "rollouts stay journalled" in site.manager.tail() or not site.manager.alive, "it ends")
    if site.manager.alive:
        os.kill(site.manager.pid, signal.SIGTERM)
    assert await ended(site.manager) == 0
    assert not site.hooks()


async def test_signals_without_end_do_not_break_its_end_off_at_its_very_last_moment(site: Site) -> None:
    """The event loop and the interpreter both give signal handlers back before the process is gone."""
    for _ in range(5):
        stopped = asyncio.Event()
        storm = asyncio.create_task(signals_until(stopped, site.manager.pid))
        assert await ended(site.manager) == 0, site.manager.tail()
        stopped.set()
        await storm
        await site.restart()


async def signals_until(stopped: asyncio.Event, pid: int) -> None:
    """SIGTERM, a thousand times a second."""
    while not stopped.is_set():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        await asyncio.sleep(0.001)


async def test_a_closed_terminal_does_not_end_a_manager_that_was_started_by_nohup(tmp_path: Path) -> None:
    site = Site(tmp_path, 1)
    site.data.mkdir(mode=0o700)
    site.manager.program = ("/usr/bin/env", "--ignore-signal=HUP", *site.manager.program)
    await site.start_manager()
    os.kill(site.manager.pid, signal.SIGHUP)
    assert (await site.client.list()).total == 0
    assert await ended(site.manager, signal.SIGTERM) == 0
    await site.client.close()


async def test_a_manager_can_be_ended_while_it_starts_with_a_rollout_to_recover(site: Site) -> None:
    await site.deploy("1.0", "recreate", **SHORT)
    await site.begin("2.0", "rolling", **SHORT, pre_deploy_hooks=["sleep 300"])
    await until(site.hooks, "the hook runs")
    await site.kill()
    for after_s in (0.0, 0.1):
        starting = await begun(site)
        await asyncio.sleep(after_s)  # a moment among those of a start, no condition
        starting.send_signal(signal.SIGTERM)
        assert await bounded(starting.wait(), PROMISED_S, f"it ends\n{site.manager.tail()}") == 0
    await site.restart()
    assert (await site.until_over()).status == "unwound"
    assert await site.settled() == "1.0"


async def begun(site: Site) -> asyncio.subprocess.Process:
    """A manager that has begun to start: it holds the data directory."""
    with site.manager.log.open("ab") as log:
        starting = await asyncio.create_subprocess_exec(
            *(*site.manager.program, "serve", "--data-dir", str(site.data), "--listen", "127.0.0.1:0"),
            env=site.manager._environment,
            stdout=log,
            stderr=log,
        )
    lock = site.data / "manager.lock"
    await until(lambda: lock.read_text() == f"pid {starting.pid}\n", "it has begun", 30.0)
    return starting


async def test_a_thread_that_copies_for_longer_does_not_keep_a_manager_from_ending(site: Site) -> None:
    """What an application has left in its directory is copied in one piece, and nothing tells a thread to stop."""
    place = site.directory / "old-place"
    place.mkdir()
    for name in ("a", "b", "c"):
        (place / name).write_text("left by what ran here before")
    program = site.manager.program
    await site.manager.stop()
    site.manager.program = (sys.executable, "-P", str(SLOW_DISK))
    await site.restart()
    await site.begin("1.0", "rolling", **SHORT, working_directory=str(place))
    await until(lambda: any(place.glob("releases/.pre-longshore.staging-*")), "it is being copied")
    assert await ended(site.manager, signal.SIGTERM) == 0
    assert "not everything came to an end" in site.manager.tail()
    site.manager.program = program
    await site.restart()
    assert (await site.until_over()).status == "unwound"
    assert not list(place.glob("releases/[!.]*"))
    assert {path.name for path in place.iterdir()} >= {"a", "b", "c"}
