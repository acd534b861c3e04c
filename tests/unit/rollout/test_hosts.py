"""Rollouts on other hosts: what stands where, and hosts that cannot be reached."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from longshore.errors import SpecInvalid
from longshore.hosts.base import HostUnreachable
from longshore.model import InstanceState, Pool, Rollout, Routing
from longshore.rollout.providing import catch_up
from longshore.rollout.terms import Terms
from support.far import FakeHost, Place
from support.shop import Shop

HOSTS = ("a", "b", "c")
STRATEGIES = ("recreate", "rolling", "blue-green", "canary")


@pytest_asyncio.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    shop = Shop(tmp_path, HOSTS)
    yield shop
    await shop.close()


def host(shop: Shop, name: str) -> FakeHost:
    return shop.machine.hosts[name]


def place(shop: Shop, name: str) -> Place:
    return host(shop, name).places[shop.deployment().working_directory]


def there(shop: Shop) -> dict[str, int]:
    """Host → instances that run on it."""
    return {name: len(shop.driver_world.running_on(name)) for name in HOSTS}


async def deploy(shop: Shop, version: str, **fields: Any) -> Rollout:
    return await shop.deploy(version, replicas=3, **fields)


def failed_step(rollout: Rollout, shop: Shop) -> str:
    return next(r.name for r in shop.lab.store.journal(rollout.id) if r.status == "failed")


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_every_host_gets_its_instances_the_release_and_the_link(strategy: str, shop: Shop) -> None:
    for version in ("1.0", "2.0"):
        assert (await deploy(shop, version, strategy=strategy, blue_green={"keep_old": 0.0})).status == "succeeded"
        assert there(shop) == dict.fromkeys(HOSTS, 1)
        assert {place(shop, name).current for name in HOSTS} == {version}
    assert shop.lab.assert_settled(replicas=3) == "2.0"


async def test_requests_are_sent_to_the_hosts_addresses(shop: Shop) -> None:
    await deploy(shop, "1.0")
    (targets,) = [pool.targets for pool in (shop.router.applied["shop"].stable,) if pool is not None]
    assert {target.host for target in targets} == {"10.0.0.1", "10.0.0.2", "10.0.0.3"}


async def test_instances_are_told_to_listen_where_others_can_reach_them(shop: Shop) -> None:
    await deploy(shop, "1.0")
    found = shop.driver_world.find(next(iter(shop.driver_world.running_on("a"))))
    assert found is not None
    assert found.launch.environment["HOST"] == "0.0.0.0"


async def test_only_hosts_with_the_labels_get_instances(shop: Shop) -> None:
    host(shop, "b").labels = {"role": "web"}
    await shop.deploy("1.0", replicas=2, host_labels={"role": "web"})
    assert there(shop) == {"a": 0, "b": 2, "c": 0}
    assert host(shop, "a").places == {}


async def test_a_host_that_is_added_gets_what_is_scaled_up_and_keeps_its_share_when_it_is_scaled_down(
    tmp_path: Path,
) -> None:
    shop = Shop(tmp_path, HOSTS[:1])
    await deploy(shop, "1.0")
    shop.machine.hosts["b"] = FakeHost("b", "10.0.0.2", shop.driver_world)
    assert (await shop.do("scale", 6)).status == "succeeded"
    assert there(shop) == {"a": 3, "b": 3, "c": 0}
    assert (await shop.do("scale", 4)).status == "succeeded"
    assert there(shop) == {"a": 2, "b": 2, "c": 0}
    await shop.close()


async def test_a_failed_rollout_leaves_nothing_on_any_host(shop: Shop) -> None:
    await deploy(shop, "1.0")
    shop.script("2.0", never_ready=True)
    assert (await deploy(shop, "2.0", strategy="rolling")).status == "unwound"
    assert {name: place(shop, name).releases for name in HOSTS} == {name: {"1.0"} for name in HOSTS}
    assert shop.lab.assert_settled(replicas=3) == "1.0"


async def test_a_failed_first_rollout_gives_the_directories_back(shop: Shop) -> None:
    shop.script("1.0", never_ready=True)
    assert (await deploy(shop, "1.0")).status == "unwound"
    for name in HOSTS:
        assert place(shop, name) == Place()


async def test_what_is_pruned_here_is_pruned_there(shop: Shop) -> None:
    for number in range(1, 9):
        await deploy(shop, f"{number}.0", strategy="recreate")
    kept = {release.version for release in shop.lab.store.releases("shop") if release.state == "kept"}
    assert len(kept) < 8
    assert {name: place(shop, name).releases for name in HOSTS} == dict.fromkeys(HOSTS, kept)


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_a_host_that_cannot_be_reached_refuses_the_rollout_before_anything_is_done(
    strategy: str, shop: Shop
) -> None:
    await deploy(shop, "1.0")
    host(shop, "b").lose()
    rollout = await deploy(shop, "2.0", strategy=strategy)
    assert (rollout.status, failed_step(rollout, shop)) == ("unwound", "check_hosts")
    assert rollout.failure is not None
    assert "Host b is out of reach" in rollout.failure.message
    host(shop, "b").come_back()
    assert shop.lab.assert_settled(replicas=3) == "1.0"


async def test_a_host_whose_connection_only_seems_to_be_there_does_not_count_as_one_that_answers(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a cable was pulled a moment ago."""

    async def nothing_comes_back(*_: object, **__: object) -> None:
        raise HostUnreachable("b", "Host b does not answer.")

    await deploy(shop, "1.0")
    monkeypatch.setattr(host(shop, "b"), "run", nothing_comes_back)
    rollout = await deploy(shop, "2.0")
    assert rollout.status == "unwound"
    assert failed_step(rollout, shop) == "check_hosts"


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_as_many_hosts_as_may_fail_are_done_without(strategy: str, shop: Shop) -> None:
    await deploy(shop, "1.0", blue_green={"keep_old": 0.0})
    host(shop, "b").crash()
    rollout = await deploy(shop, "2.0", strategy=strategy, max_failed_hosts=1)
    assert rollout.status == "succeeded", rollout.failure
    assert Counter(there(shop)) == {"a": 1, "b": 0, "c": 1}
    (missing,) = [i for i in shop.lab.store.instances("shop") if i.host == "b" and i.id in shop.deployment().instances]
    assert (missing.version, missing.state) == ("2.0", InstanceState.starting)
    stable = shop.router.applied["shop"].stable
    assert stable is not None
    assert {target.host for target in stable.targets} == {"10.0.0.1", "10.0.0.3"}


@pytest.mark.parametrize("current", ["1.0", "2.0"])
async def test_a_host_that_missed_a_rollout_gets_the_content_that_is_committed_and_not_one_of_its_name(
    current: str, shop: Shop
) -> None:
    """As after a 2.0 that was undone, and is another one now; `current`: what the link names there."""
    await deploy(shop, "1.0")
    host(shop, "c").lose()
    await deploy(shop, "2.0", max_failed_hosts=1)
    host(shop, "c").come_back()
    place(shop, "c").contents["2.0"] = "another"
    place(shop, "c").current = current
    assert await catch_up(shop.lab.world, shop.deployment(), "c")
    assert place(shop, "c") == place(shop, "a")
    assert not await catch_up(shop.lab.world, shop.deployment(), "c")


async def test_what_could_not_be_stopped_as_its_host_is_lost_is_not_told_as_stopped(shop: Shop) -> None:
    await deploy(shop, "1.0")
    host(shop, "c").lose()
    rollout = await deploy(shop, "2.0", strategy="recreate", max_failed_hosts=1)
    (told,) = [r.message for r in shop.lab.store.journal(rollout.id) if r.name == "stop_instances"]
    assert told == "stopped 2 instances"


async def test_a_host_with_room_for_the_files_of_a_release_alone_is_told_before_anything_begins(shop: Shop) -> None:
    host(shop, "b").free_bytes = 1_000_000
    with pytest.raises(SpecInvalid, match="on host b: the release takes"):
        await shop.begin("1.0")


async def test_a_scale_onto_a_host_whose_disk_is_full_says_so(shop: Shop) -> None:
    await shop.deploy("1.0", replicas=1)
    for name in ("b", "c"):  # as one that has just been put into the configuration
        host(shop, name).places.clear()
        host(shop, name).full = True
    rollout = await shop.do("scale", 2)
    assert rollout.status == "unwound"
    assert rollout.failure is not None
    assert "could not be started: host b: No space left on device: free space there" in rollout.failure.message
    assert there(shop) == {"a": 1, "b": 0, "c": 0}


async def test_a_pool_that_is_wholly_out_of_reach_gets_no_share_of_the_requests(shop: Shop) -> None:
    await deploy(shop, "1.0")
    by_host = {instance.host: instance.id for instance in shop.lab.store.instances("shop")}
    old, new = Pool("aaaaaaaa", "1.0", (by_host["b"],)), Pool("bbbbbbbb", "2.0", (by_host["a"], by_host["c"]))
    shared = Routing(8080, old, new, weight=67)
    assert shop.lab.world.fleet.traffic(shared).weight == 67
    for routing in (shared, Routing(8080, new, old, weight=33)):
        found = shop.lab.world.fleet.traffic(routing, without={"b"})
        assert found.stable is not None
        assert (found.stable.id, found.candidate, found.weight) == ("bbbbbbbb", None, 0)


async def test_a_host_that_has_come_back_a_moment_ago_keeps_nobody_from_deleting(shop: Shop) -> None:
    await deploy(shop, "1.0")
    host(shop, "b").lose()
    host(shop, "b").unnoticed = True
    await shop.lab.service.delete("shop", keep_files=False, terms=Terms("ana"))
    assert there(shop) == dict.fromkeys(HOSTS, 0)
    assert shop.lab.store.deployment("shop") is None


async def test_one_host_more_than_may_fail_fails_it(shop: Shop) -> None:
    await deploy(shop, "1.0")
    host(shop, "a").crash()
    host(shop, "b").crash()
    rollout = await deploy(shop, "2.0", max_failed_hosts=1)
    assert rollout.status == "unwound"
    assert rollout.failure is not None
    assert "2 hosts (a, b) are out of reach, and at most 1 may be (max_failed_hosts)" in rollout.failure.message


@pytest.mark.slow
@pytest.mark.parametrize("tolerated", [0, 1])
@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_a_host_that_dies_at_any_moment_leaves_one_release_on_the_others(
    strategy: str, tolerated: int, tmp_path: Path
) -> None:
    """Before each write of the journal in turn: undone or finished without it, never undecided."""
    writes, at, ends = 1, 0, set()
    while at < writes:
        at += 1
        (tmp_path / f"{at}").mkdir()
        shop = Shop(tmp_path / f"{at}", HOSTS)
        await deploy(shop, "1.0", strategy=strategy, blue_green={"keep_old": 0.0})
        before = shop.lab.writes
        shop.lab.at_write = {before + at: host(shop, "b").crash}
        rollout = await deploy(shop, "2.0", strategy=strategy, max_failed_hosts=tolerated)
        writes = shop.lab.writes - before
        assert rollout.status in ("succeeded", "unwound"), (at, rollout.status, rollout.message)
        version = shop.deployment().current_version
        assert version == ("2.0" if rollout.status == "succeeded" else "1.0")
        for name in ("a", "c"):
            (running,) = shop.driver_world.running_on(name)
            found = shop.driver_world.find(running)
            assert found is not None
            assert found.version == version, (at, name)
            assert place(shop, name).current == version, (at, name)
        ends.add(rollout.status)
        await shop.close()
    assert ends == {"succeeded", "unwound"} if not tolerated else "succeeded" in ends
