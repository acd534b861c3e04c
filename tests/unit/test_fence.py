"""Who may act: the manager whose epoch is in the store, and in the file that it opened."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from longshore.clock import SystemClock
from longshore.data_dir import announced
from longshore.drivers.process import ProcessDriver
from longshore.errors import LeaseLost
from longshore.fence import EpochFence
from longshore.files import WorkingDirectory
from longshore.routers.envoy.admin import Admin
from longshore.routers.envoy.files import Files
from longshore.store import Store
from support.launching import launch_of, running


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "longshore.db", SystemClock())
    store.take_over()
    yield store
    store.close()


@pytest.fixture
def fence(store: Store) -> Iterator[EpochFence]:
    fence = EpochFence(store.db.path, store.db.epoch)
    yield fence
    fence.close()


def another_takes_over(store: Store) -> None:
    other = Store(store.db.path, SystemClock())
    other.take_over()
    other.close()


async def test_the_manager_of_the_store_passes_also_in_a_thread_and_in_the_middle_of_a_write(
    store: Store, fence: EpochFence
) -> None:
    fence()
    await asyncio.to_thread(fence)
    with store.transaction():
        fence()


def test_one_that_was_replaced_does_not_pass_and_is_told_by_whom(store: Store, fence: EpochFence) -> None:
    another_takes_over(store)
    with pytest.raises(LeaseLost) as told:
        fence()
    assert str(os.getpid()) in told.value.cause


@pytest.mark.parametrize("what", ["replaced", "gone"])
def test_one_whose_database_is_another_file_now_does_not_pass(what: str, store: Store, fence: EpochFence) -> None:
    store.db.path.rename(store.db.path.with_name("aside"))
    if what == "replaced":
        store.db.path.write_bytes(store.db.path.with_name("aside").read_bytes())
    with pytest.raises(LeaseLost) as told:
        fence()
    assert "another file now, or gone" in told.value.cause


async def test_nothing_is_started_or_ended_behind_the_fence(tmp_path: Path, store: Store, fence: EpochFence) -> None:
    driver = ProcessDriver("fenced", fence)
    handle = await driver.start(launch_of(tmp_path), lambda handle: None)
    another_takes_over(store)
    with pytest.raises(LeaseLost):
        await driver.stop(handle, 0.1)
    assert running(handle["pid"])
    with pytest.raises(LeaseLost):
        await driver.start(launch_of(tmp_path), lambda handle: None)
    driver.close()
    assert len(await ProcessDriver("fenced").survey()) == 1
    await ProcessDriver("fenced").stop(handle, 0.1)


async def test_what_was_started_when_another_took_over_is_left_to_that_one(tmp_path: Path, store: Store) -> None:
    def persist(handle: object) -> None:
        raise LeaseLost(cause="taken over while it started")

    driver = ProcessDriver("fenced-late")
    with pytest.raises(LeaseLost):
        await driver.start(launch_of(tmp_path), persist)
    driver.close()
    ((_, handle),) = (await ProcessDriver("fenced-late").survey()).items()
    assert running(handle["pid"])
    await ProcessDriver("fenced-late").stop(handle, 0.1)


def test_no_release_no_link_and_no_routing_file_changes_behind_the_fence(
    tmp_path: Path, store: Store, fence: EpochFence
) -> None:
    place = WorkingDirectory(tmp_path / "site", fence)
    place.claim("me")
    (tmp_path / "site/releases/1.0").mkdir()
    (tmp_path / "site/releases/2.0").mkdir()
    place.set_current("1.0")
    files = Files(tmp_path, Admin(tmp_path / "admin"), SystemClock(), tmp_path / "log", _no_reason, fence)
    files.write()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.json")}
    another_takes_over(store)
    for act in (
        lambda: place.set_current("2.0"),
        lambda: place.set_current(None),
        lambda: place.remove_release("2.0"),
        lambda: place.disclaim("me"),
        files.write,
    ):
        with pytest.raises(LeaseLost):
            act()
    assert place.current() == "1.0"
    assert (tmp_path / "site/releases/2.0").is_dir()
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.json")} == before


async def _no_reason(since: int) -> str:
    return ""


def test_the_address_of_the_next_manager_stays(tmp_path: Path) -> None:
    stated = tmp_path / "server.json"
    with announced(tmp_path, "http://127.0.0.1:1", "1"):
        stated.write_text("the next one's")
    assert stated.read_text() == "the next one's"
    with announced(tmp_path, "http://127.0.0.1:1", "1"):
        assert stated.exists()
    assert not stated.exists()
