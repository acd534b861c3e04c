"""A manager that stands still while another one takes over: woken up, it neither writes nor acts any more.

One machine, one data directory: as long as the first one lives, frozen or not, its lock keeps a second one out. The
tests take the lock file away, as somebody might who wants a second one; a network file system may lose it too.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from longshore.demo.manager import Manager
from longshore.drivers.identity import read_stat
from support.envoy import needs_envoy
from support.kills import LIGHT, REPLICAS, SHORT, nothing_lost, seeded
from support.manager import Site, ended_soon, open_site, until
from support.successors import successor

pytestmark = [needs_envoy, pytest.mark.slow]

#: warm sets stay: one whose time is over while a test looks would be a change
FIELDS = {**SHORT, "blue_green": {"keep_old": "1h"}}
#: seconds after which a manager that was woken up has found out and ended
FOUND_OUT_S = 5.0


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(tmp_path, replicas=REPLICAS) as site:
        await site.deploy("1.0", "recreate", **SHORT)
        yield site


async def frozen(site: Site) -> Manager:
    """The manager, once it stands still and holds no lock of the database: nobody could take over with it held."""
    pid = site.manager.pid
    for _ in range(100):
        await until(lambda: (stat := read_stat(pid)) and stat.state == "T", "it stands still", 30.0)
        if not write_locked(site):
            return site.manager
        os.kill(pid, signal.SIGCONT)
        await asyncio.sleep(0.005)
        os.kill(pid, signal.SIGSTOP)
    raise AssertionError("it is in the middle of a write, whenever it is stopped")


def write_locked(site: Site) -> bool:
    connection = sqlite3.connect(site.data / "longshore.db", timeout=0.0, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    except sqlite3.OperationalError:
        return True
    finally:
        connection.close()
    return False


def picture(site: Site) -> dict[str, Any]:
    """All that a manager acts on, each with what changes when it is made anew: its inode, its pid."""
    files = [path for path in (site.data / "envoy").iterdir() if path.suffix in (".json", ".tmp")]
    releases = site.data / "apps/shop/releases"
    return {
        "routing": {path.name: (path.stat().st_ino, path.read_bytes()) for path in files},
        "current": ((site.data / "apps/shop/current").lstat().st_ino, (site.data / "apps/shop/current").readlink()),
        "releases": {path.name: path.stat().st_ino for path in releases.iterdir()},
        "processes": {(stat.pid, stat.start_time): launch for stat, launch in site.launches()},
        "hooks": site.hooks(),
        "envoy": site.envoy() and (site.envoy().pid, site.envoy().start_time),  # type: ignore[union-attr]
        "rows": [site.instances(), site.committed()],
        "server.json": (site.data / "server.json").read_text(),
    }


async def woken(first: Manager) -> None:
    """It goes on, finds out, says so and ends."""
    os.kill(first.pid, signal.SIGCONT)
    began = time.monotonic()
    assert await ended_soon(first.pid, FOUND_OUT_S), f"it goes on after {FOUND_OUT_S:g} s\n{first.tail()}"
    print(f"ended {time.monotonic() - began:.1f} s after it was woken up")


def moments(count: int) -> Iterator[tuple[str, int, str, float]]:
    """(strategy, write, point, seconds after it). 0 seconds is between what was written and the effect it announces."""
    chance = seeded()
    for _ in range(count):
        yield (
            chance.choice(["recreate", "rolling", "blue-green", "canary"]),
            chance.randint(5, 45),
            chance.choice(["begin", "committed", "committed"]),
            chance.choice([0.0, 0.0, 0.02, 0.1]),
        )


async def test_a_manager_that_was_replaced_while_it_stood_still_acts_no_more(site: Site) -> None:
    version, number = "1.0", 1
    async with site.load(**LIGHT) as load:
        for strategy, write, point, delay_s in moments(int(os.environ.get("FROZEN") or 3)):
            number += 1
            story = f"{strategy} frozen at write {write} ({point} + {delay_s} s)"
            print(story)
            site.light_fuse(write, point, delay_s, signal.SIGSTOP)
            beginning = asyncio.ensure_future(site.begin(f"{number}.0", strategy, **FIELDS))
            first = await frozen(site)
            (site.data / "manager.lock").unlink()
            successor(site)
            beginning.cancel()
            await asyncio.gather(beginning, return_exceptions=True)
            await site.restart()
            if (last := await site.last_rollout()) is not None and last.number == number:
                version = f"{number}.0" if (await site.until_over()).status == "succeeded" else version
            assert await site.settled(REPLICAS) == version, story
            # Whatever changes from here on is the first one's doing.
            os.kill(site.manager.pid, signal.SIGSTOP)
            await frozen(site)
            before = picture(site)
            await woken(first)
            after = picture(site)
            os.kill(site.manager.pid, signal.SIGCONT)
            assert after == before, story
            assert "Another manager has taken over" in first.tail(), story
            assert await site.settled(REPLICAS) == version, story
    nothing_lost(load)
