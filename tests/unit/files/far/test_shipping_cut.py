"""Shipping while the connection is lost, the disk is full, the manager is killed: complete, or nothing."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from longshore.files import FilesError, WorkingDirectory
from longshore.files.far import FarDirectory, Stock
from longshore.files.far import directory as far_directory
from longshore.hosts import HostUnreachable
from support.sh_host import Cut, ShHost
from support.trees import File, Folder, Link, Tree, plant, seen, unpack

BIG = os.urandom(60_000)
OLD: Tree = {
    "big": BIG,
    "gone": b"g",
    "lib/same": b"s" * 3000,
    "old-name/moved": b"m" * 20_000,
    "uploads/seed": b"u",
    "link": Link("lib"),
}
NEW: Tree = {
    "big": File(BIG[:30_000] + b"between" + BIG[30_000:], 0o755),
    "lib/same": b"s" * 3000,
    "new-name/moved": b"m" * 20_000,
    "uploads/seed": b"u",
    "hollow": Folder(),
    "link": Link("hollow"),
    "other/seed": b"o",
}


@pytest.fixture
def stock(tmp_path: Path) -> Stock:
    local = WorkingDirectory(plant(tmp_path / "manager", {}) / "shop")
    unpack(local, "1", OLD, ["uploads"])
    unpack(local, "2", NEW, ["uploads", "other"])
    return Stock(local)


class Course:
    """The same upgrade, on a host of its own each time."""

    def __init__(self, directory: Path, stock: Stock) -> None:
        self.directory, self.stock, self.count = directory, stock, 0

    async def host(self) -> tuple[ShHost, FarDirectory]:
        self.count += 1
        host = ShHost(plant(self.directory / f"host-{self.count}", {}))
        far = FarDirectory(host, str(host.home / "shop"))
        await far.claim("me")
        await far.ship(self.stock, "1", ["uploads"])
        await far.set_current("1")
        return host, far

    async def upgrade(self, far: FarDirectory) -> None:
        await far.ship(self.stock, "2", ["uploads", "other"])

    def check_done(self, far: FarDirectory) -> None:
        place, local = Path(far.path), self.stock.local
        assert seen(place / "releases/2") == seen(local.releases / "2")
        assert seen(place / "releases/1") == seen(local.releases / "1")
        assert sorted(os.listdir(place / "releases")) == ["1", "2"]  # noqa: PTH208
        assert seen(place / "shared") == seen(local.shared)

    def check_not_done(self, far: FarDirectory) -> None:
        place = Path(far.path)
        assert not (place / "releases/2").exists()
        assert not (place / ".longshore/releases/2.json").exists()
        assert seen(place / "releases/1") == seen(self.stock.local.releases / "1")
        assert os.readlink(place / "current") == "releases/1"  # noqa: PTH115


@pytest.fixture
def course(tmp_path: Path, stock: Stock) -> Course:
    return Course(tmp_path, stock)


async def parcel_bytes(course: Course) -> tuple[int, int]:
    """How many scripts an upgrade takes, and the bytes of its one input."""
    host, far = await course.host()
    scripts, sent = host.scripts, host.input_bytes
    await course.upgrade(far)
    return host.scripts - scripts, host.input_bytes - sent


async def test_a_connection_that_is_lost_after_any_byte_leaves_nothing_or_all(course: Course) -> None:
    _, size = await parcel_bytes(course)
    host, far = await course.host()
    host.comes_back = False
    script = 1  # the first one asks how it stands
    for after in [*range(1, size - 1536, size // 16), size - 1536]:
        host.cut(Cut(script, after))
        with pytest.raises(HostUnreachable):
            await course.upgrade(far)
        course.check_not_done(far)
        assert sorted(os.listdir(Path(far.path) / "releases")) == ["1"]  # noqa: PTH208
    # What is lost now is the padding of the last block: it stands there already.
    host.cut(Cut(script, size - 1))
    with pytest.raises(HostUnreachable):
        await course.upgrade(far)
    course.check_done(far)
    host.cut()
    await course.upgrade(far)
    course.check_done(far)


@pytest.mark.parametrize("cut", ["in the middle", "before the answer"])
async def test_a_lost_connection_is_gone_on_after(course: Course, cut: str) -> None:
    scripts, size = await parcel_bytes(course)
    for script in range(scripts):
        host, far = await course.host()
        host.cut(Cut(script, size // 2 if cut == "in the middle" else None))
        await course.upgrade(far)
        course.check_done(far)


async def test_what_was_done_before_the_answer_was_lost_is_not_done_again(course: Course) -> None:
    _, size = await parcel_bytes(course)
    host, far = await course.host()
    before = host.input_bytes
    host.cut(Cut(1))
    await course.upgrade(far)
    assert host.input_bytes - before == size


async def test_every_word_may_be_lost_on_the_way_back(course: Course) -> None:
    """Each of the directory's other methods, with each of its scripts cut before the answer."""
    words = {
        "claim": lambda far: far.claim("me"),
        "set_current": lambda far: far.set_current("1"),
        "unset": lambda far: far.set_current(None),
        "sweep": lambda far: far.sweep(),
        "remove_all": lambda far: far.remove_all(),
        "disclaim": lambda far: far.disclaim("me"),
    }
    (host, far), (whole, sound) = await course.host(), await course.host()
    for word in words.values():
        before = whole.scripts
        await word(sound)
        for script in range(whole.scripts - before):
            host.cut(Cut(script))
            await word(far)
        host.cut()
        assert seen(Path(far.path)).keys() == seen(Path(sound.path)).keys()


async def test_a_manager_that_gives_up_in_the_middle_leaves_what_is_swept(course: Course) -> None:
    _, far = await course.host()
    begun = asyncio.Event()
    shipping = asyncio.create_task(
        far.ship(course.stock, "2", ["uploads", "other"], progress=lambda sent, total: begun.set())
    )
    await asyncio.wait_for(begun.wait(), 10)
    shipping.cancel()
    await asyncio.gather(shipping, return_exceptions=True)
    await far.sweep()
    if (await far.standing()).releases.keys() == {"1"}:
        course.check_not_done(far)
    await course.upgrade(far)
    course.check_done(far)


async def test_what_a_session_that_was_killed_has_left_is_swept_by_the_next_one(course: Course) -> None:
    _, far = await course.host()
    plant(Path(far.path) / "releases/.2.staging-ab", {"tree/big": b""})
    await course.upgrade(far)
    course.check_done(far)


async def test_what_is_being_received_is_not_swept(course: Course) -> None:
    _, far = await course.host()
    place = plant(Path(far.path) / "releases/.9.staging-1", {"x": b""})
    holding = await asyncio.create_subprocess_exec(
        "flock", str(place), "sh", "-c", "echo held; read -r _", stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holding.stdout is not None
    await asyncio.wait_for(holding.stdout.readline(), 10)
    assert await far.sweep() == []
    await asyncio.wait_for(holding.communicate(b"\n"), 10)
    assert await far.sweep() == [".9.staging-1"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = plant(tmp_path / "small", {})
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(place)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("foreseen", [True, False], ids=["as it can be foreseen", "in the middle"])
async def test_a_full_disk_is_told_and_nothing_is_left(
    small_disk: Path, course: Course, monkeypatch: pytest.MonkeyPatch, foreseen: bool
) -> None:
    unpack(course.stock.local, "3", {"big": os.urandom(1_500_000), "bigger": os.urandom(12_000_000)})
    host = ShHost(small_disk)
    far = FarDirectory(host, str(small_disk / "shop"))
    await far.ship(course.stock, "1", ["uploads"])
    before = seen(small_disk)
    if not foreseen:
        monkeypatch.setattr(far_directory, "SPARE_BYTES", -1_000_000_000)
    says = "but only [0-9]+ are free" if foreseen else "host web1: .*No space left on device: the disk is full: free"
    with pytest.raises(FilesError, match=says):
        await far.ship(course.stock, "3")
    assert seen(small_disk) == before


async def test_a_full_disk_while_copying_is_told(
    small_disk: Path, course: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    big = os.urandom(7_000_000)
    unpack(course.stock.local, "3", {"big": big})
    unpack(course.stock.local, "4", {"big": big, "more": b""})
    far = FarDirectory(ShHost(small_disk), str(small_disk / "shop"))
    await far.ship(course.stock, "3")
    before = seen(small_disk)
    monkeypatch.setattr(far_directory, "SPARE_BYTES", -1_000_000_000)
    with pytest.raises(FilesError, match="No space left on device: the disk is full"):
        await far.ship(course.stock, "4")
    assert seen(small_disk) == before


async def test_a_user_that_the_host_does_not_know_is_told(course: Course) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root gives files to others")
    _, far = await course.host()
    with pytest.raises(FilesError, match="nobody-here"):
        await far.ship(course.stock, "2", ["uploads", "other"], user="nobody-here")
    course.check_not_done(far)


async def test_files_belong_to_the_user_by_name(course: Course) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root gives files to others")
    _, far = await course.host()
    await far.ship(course.stock, "2", ["uploads", "other"], user="nobody")
    place = Path(far.path)
    for top in (place / "releases/2", place / "shared/other"):
        assert {each.owner() for each in (top, *top.rglob("*")) if not each.is_symlink()} == {"nobody"}
    course.check_done(far)
