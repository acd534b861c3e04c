"""Releases sent to real hosts over SSH: as root or not, cut off in the middle, without power, with a full disk."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from longshore.files import FilesError, WorkingDirectory
from longshore.files.far import FarDirectory, Stock
from longshore.hosts import HostUnreachable
from longshore.hosts.ssh import SshHost
from support.hosts import Host, HostSet, HostsMissing, open_hosts
from support.trees import File, Folder, Link, Tree, plant, seen, unpack

pytestmark = pytest.mark.slow

#: so that what is cut is noticed within 3 s
QUICK = {"keepalive": "1s", "connect_timeout": "3s"}

BIG = os.urandom(20_000_000)
OLD: Tree = {
    "big": BIG,
    "bin/run": File(b"#!/bin/sh\n", 0o755),
    "odd/new\nline": b"1",
    "odd/-n --help": b"2",
    os.fsdecode(b"odd/\xff\xe9"): b"3",
    "hollow": Folder(0o700),
    "link": Link("bin/run"),
    "uploads/first": b"u",
    **{f"modules/{number}.js": os.urandom(500) for number in range(300)},
}
NEW: Tree = {
    **OLD,
    "big": BIG[:7_000_000] + b"something new" + BIG[7_000_000:],
    "modules/7.js": b"7",
    "link": Link("big"),
}
OTHER: Tree = {**OLD, "big": os.urandom(60_000_000)}
SHARED = ("uploads",)

Maker = Callable[..., SshHost]
#: each host object of its own is that of a newer manager, as it is in life
_EPOCHS = iter(range(1, 1000))


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostSet]:
    try:
        with open_hosts(tmp_path_factory.mktemp("shipping"), 2) as hosts, hosts.inside():
            yield hosts
    except HostsMissing as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Stock:
    local = WorkingDirectory(plant(tmp_path_factory.mktemp("manager"), {}) / "shop")
    for version, tree in (("1", OLD), ("2", NEW), ("3", OTHER)):
        unpack(local, version, tree, SHARED)
    return Stock(local)


@pytest.fixture
async def reached(hosts: HostSet) -> AsyncIterator[Maker]:
    made: list[SshHost] = []

    def reach(there: Host, scope: Any = "system", **settings: Any) -> SshHost:
        made.append(SshHost(there.settings(**settings), there.ssh(**QUICK), scope, "m0123456789a", next(_EPOCHS)))
        return made[-1]

    yield reach
    for host in made:
        await host.close()


@pytest.fixture
async def far(hosts: HostSet, reached: Maker) -> AsyncIterator[FarDirectory]:
    """On the first host, with release 1."""
    far = FarDirectory(reached(hosts[0]), "/srv/shop")
    yield far
    await far.remove_all()
    hosts[0].shell("rm -rf /srv/shop")


def there(host: Host, far: FarDirectory, version: str) -> dict[str, tuple[str, int, bytes]]:
    return seen(host.path(f"{far.path}/releases/{version}"))


def here(stock: Stock, version: str) -> dict[str, tuple[str, int, bytes]]:
    return seen(stock.local.releases / version)


@pytest.mark.parametrize(
    ("user", "scope", "apps"),
    [("root", "system", "/srv"), ("deploy", "system", "/srv"), ("deploy", "user", "/home/deploy/apps")],
)
async def test_releases_are_there_what_they_are_here(
    hosts: HostSet, reached: Maker, stock: Stock, user: str, scope: Any, apps: str
) -> None:
    far = FarDirectory(reached(hosts[0], scope, user=user), f"{apps}/shop")
    await far.claim("shop of a test")
    owner = "deploy" if scope == "system" else ""
    await far.ship(stock, "1", SHARED, user=owner)
    shipped = await far.ship(stock, "2", SHARED, user=owner)
    await far.set_current("2")
    assert there(hosts[0], far, "1") == here(stock, "1")
    assert there(hosts[0], far, "2") == here(stock, "2")
    assert hosts[0].shell(f"stat -c %U {far.path}/current/bin/run {far.path}/shared/uploads") == "deploy\ndeploy\n"
    assert hosts[0].shell(f"cat {far.path}/current/uploads/first") == "u"
    assert shipped.base == "1"
    assert shipped.sent_bytes < 40_000
    assert (await far.ship(stock, "2", SHARED, user=owner)).sent_bytes == 0
    await far.set_current(None)
    await far.remove_all()
    await far.disclaim("shop of a test")
    hosts[0].shell(f"rm -rf {far.path}/shared && rmdir {far.path}")


async def test_several_hosts_get_it_at_once(hosts: HostSet, reached: Maker, stock: Stock) -> None:
    several = [FarDirectory(reached(host), "/srv/several") for host in hosts]
    for version in ("1", "2"):
        await asyncio.gather(*(far.ship(stock, version, SHARED) for far in several))
    for host, far in zip(hosts, several, strict=True):
        assert there(host, far, "2") == here(stock, "2")
    times = {host.shell("stat -c %Y /srv/several/releases/2/big") for host in hosts}
    assert len(times) == 1


async def test_a_cable_that_is_pulled_in_the_middle_is_gone_on_after(
    hosts: HostSet, far: FarDirectory, stock: Stock
) -> None:
    said: list[tuple[int, int]] = []
    mending: list[asyncio.Task[None]] = []

    async def mend() -> None:
        await asyncio.sleep(4)  # a cable that is out for some seconds; that is what is tested
        await asyncio.to_thread(hosts[0].mend)

    def pull(sent: int, total: int) -> None:
        said.append((sent, total))
        if not mending and sent > total // 3:
            hosts[0].cut()
            mending.append(asyncio.create_task(mend()))

    shipped = await far.ship(stock, "3", SHARED, progress=pull)
    await mending[0]
    assert there(hosts[0], far, "3") == here(stock, "3")
    assert os.listdir(hosts[0].path(f"{far.path}/releases")) == ["3"]  # noqa: PTH208
    assert 60_000_000 < shipped.sent_bytes < 130_000_000
    assert [sent for sent, _ in said] == sorted(sent for sent, _ in said)


async def test_a_power_cut_in_the_middle_leaves_nothing(hosts: HostSet, far: FarDirectory, stock: Stock) -> None:
    await far.ship(stock, "1", SHARED)
    await far.set_current("1")
    crashed = False

    def crash(sent: int, total: int) -> None:
        nonlocal crashed
        if not crashed and sent > total // 2:
            crashed = True
            hosts[0].crash()

    with pytest.raises(HostUnreachable):
        await far.ship(stock, "3", SHARED, progress=crash)
    await asyncio.to_thread(hosts[0].start)
    await far.host.connect()  # as a rollout does first: for what is lost for long nobody waits in the middle of one
    assert (await far.standing()).releases.keys() == {"1"}
    assert await far.current() == "1"
    (swept,) = await far.sweep()
    assert swept.startswith(".3.staging-")
    assert there(hosts[0], far, "1") == here(stock, "1")
    await far.ship(stock, "3", SHARED)
    assert there(hosts[0], far, "3") == here(stock, "3")
    await far.set_current(None)


@pytest.mark.parametrize("begins", ["empty", "nearly full"])
async def test_a_full_disk_there_is_told_and_nothing_is_left(
    hosts: HostSet, reached: Maker, stock: Stock, begins: str
) -> None:
    hosts[1].shell("mkdir -p /srv/small && mount -t tmpfs -o size=70m tmpfs /srv/small")
    try:
        far = FarDirectory(reached(hosts[1]), "/srv/small/shop")
        await far.claim("me")
        if begins == "nearly full":
            await far.ship(stock, "1", SHARED)
        before = seen(hosts[1].path("/srv/small"))

        def fill(sent: int, total: int) -> None:
            if sent < 1_000_000:  # what nobody could foresee
                hosts[1].shell("head -c 30M /dev/zero > /srv/small/other")

        says = "host host2: .*(only [0-9]+ are free|No space left on device: the disk is full: free space)"
        with pytest.raises(FilesError, match=says):
            await far.ship(stock, "3", SHARED, progress=fill)
        hosts[1].shell("rm -f /srv/small/other")
        assert seen(hosts[1].path("/srv/small")) == before
    finally:
        hosts[1].shell("umount /srv/small")


async def test_what_was_there_before_stays_on_the_host_as_it_is(
    hosts: HostSet, far: FarDirectory, stock: Stock
) -> None:
    hosts[0].shell("mkdir -p /srv/shop/app && echo one > /srv/shop/app/run && ln -s ../../elsewhere /srv/shop/app/out")
    await far.ship(stock, "1", SHARED, owner="me")
    await far.set_current("1")
    assert (await far.standing()).releases.keys() == {"1"}
    assert hosts[0].shell("cat /srv/shop/app/run; readlink /srv/shop/app/out").split() == ["one", "../../elsewhere"]
