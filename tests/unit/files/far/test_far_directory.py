"""A working directory on a host, by a real shell."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from longshore.files import FilesError, WorkingDirectory
from longshore.files.far import FarDirectory, Shipped, Stock
from support.sh_host import ShHost
from support.trees import File, Folder, Link, Tree, plant, seen, unpack

APP: Tree = {
    "server": File(b"#!/bin/sh\nexec true\n", 0o755),
    "lib/code.py": b"print(1)\n",
    "lib/deep/er/x": b"x",
    "empty": b"",
    "hollow": Folder(),
    "private": Folder(0o700),
    "private/key": File(b"k", 0o600),
    "to-lib": Link("lib"),
    "lib/up": Link("../server"),
}
ODD: Tree = {
    "new\nline": b"1",
    " spaces both ": b"2",
    "-n": b"3",
    "--help/-x": b"4",
    "back\\slash": b"5",
    "quote'\"$(true)`x`": b"6",
    os.fsdecode(b"latin-\xe9\xff"): b"7",
    "tab\there": b"8",
    "*": b"9",
    "link -> like": Link("new\nline"),
    "-dash": Folder(),
    "äöü/☃": b"10",
}


@pytest.fixture
def local(tmp_path: Path) -> WorkingDirectory:
    return WorkingDirectory(plant(tmp_path / "manager", {}) / "apps-shop")


@pytest.fixture
def stock(local: WorkingDirectory) -> Stock:
    return Stock(local)


@pytest.fixture
def host(tmp_path: Path) -> ShHost:
    return ShHost(plant(tmp_path / "web1", {}))


@pytest.fixture
def far(host: ShHost) -> FarDirectory:
    return FarDirectory(host, str(host.home / "srv/shop"))


def there(far: FarDirectory, version: str) -> dict[str, tuple[str, int, bytes]]:
    return seen(Path(far.path) / "releases" / version)


def left(far: FarDirectory) -> list[str]:
    """What is in releases, staging and all."""
    place = Path(far.path) / "releases"
    return sorted(os.listdir(place)) if place.is_dir() else []  # noqa: PTH208


def times(far: FarDirectory, version: str) -> set[float]:
    return {place.lstat().st_mtime for place in (Path(far.path) / "releases" / version).rglob("*")}


# ---------------------------------------------------------------------------------------------- shipping


@pytest.mark.parametrize("tree", [APP, ODD, {}], ids=["an application", "odd names", "nothing"])
async def test_a_release_that_is_shipped_is_there_what_it_is_here(
    local: WorkingDirectory, stock: Stock, far: FarDirectory, tree: Tree
) -> None:
    release = unpack(local, "1", tree)
    shipped = await far.ship(stock, "1")
    assert there(far, "1") == seen(release)
    assert left(far) == ["1"]
    assert shipped.size_bytes == sum(len(content) for kind, _, content in seen(release).values() if kind == "file")


@pytest.mark.parametrize("tree", [APP, ODD], ids=["an application", "odd names"])
async def test_the_next_one_is_made_of_the_one_before(
    local: WorkingDirectory, stock: Stock, far: FarDirectory, host: ShHost, tree: Tree
) -> None:
    unpack(local, "1", tree)
    release = unpack(local, "2", {**tree, "changed": b"new"})
    await far.ship(stock, "1")
    shipped = await far.ship(stock, "2")
    assert there(far, "2") == seen(release)
    assert shipped.base == "1"


async def test_one_that_stands_costs_one_short_question(
    local: WorkingDirectory, stock: Stock, far: FarDirectory, host: ShHost
) -> None:
    unpack(local, "1", APP)
    await far.ship(stock, "1")
    scripts, sent, size = host.scripts, host.sent_bytes, (await stock.manifest("1")).size_bytes
    assert await far.ship(stock, "1") == Shipped(0, size, None)
    assert host.scripts == scripts + 1
    assert host.sent_bytes - sent < 5000


async def test_the_same_content_under_another_version_sends_next_to_nothing(
    local: WorkingDirectory, stock: Stock, far: FarDirectory, host: ShHost
) -> None:
    tree: Tree = {f"modules/{number % 50}/file-{number}": os.urandom(1000) for number in range(2000)}
    unpack(local, "1", tree)
    release = unpack(local, "2", tree)
    await far.ship(stock, "1")
    sent = host.sent_bytes
    await far.ship(stock, "2")
    assert there(far, "2") == seen(release)
    assert host.sent_bytes - sent < 20_000


async def test_what_has_moved_is_not_sent_again(
    local: WorkingDirectory, stock: Stock, far: FarDirectory, host: ShHost
) -> None:
    files = {f"lib/{number}.so": os.urandom(2000) for number in range(100)}
    single = os.urandom(200_000)
    unpack(local, "1", {**{f"app-1.0/{name}": content for name, content in files.items()}, "data.bin": single})
    moved: Tree = {f"app-1.1/{name}": content for name, content in files.items()}
    release = unpack(local, "2", {**moved, "assets/x.bin": File(single, 0o755)})
    await far.ship(stock, "1")
    shipped = await far.ship(stock, "2")
    assert there(far, "2") == seen(release)
    assert shipped.sent_bytes < 30_000


async def test_of_a_large_file_only_what_is_new_is_sent(
    local: WorkingDirectory, stock: Stock, far: FarDirectory, host: ShHost
) -> None:
    chance = random.Random(5)
    old = chance.randbytes(4_000_000)
    new = bytearray(old)
    for _ in range(10):
        place = chance.randrange(len(new))
        new[place:place] = chance.randbytes(1000)
        place = chance.randrange(len(new) - 2000)
        new[place : place + 2000] = chance.randbytes(2000)
    unpack(local, "1", {"big": old, "other": b"o"})
    release = unpack(local, "2", {"big": bytes(new), "other": b"o"})
    await far.ship(stock, "1")
    shipped = await far.ship(stock, "2")
    assert there(far, "2") == seen(release)
    assert shipped.sent_bytes < 30_000 + 15_000


async def test_what_somebody_has_changed_there_is_sent_whole(
    local: WorkingDirectory, stock: Stock, far: FarDirectory, host: ShHost
) -> None:
    big = os.urandom(300_000)
    tree: Tree = {**APP, "big": big, "same": b"s" * 50}
    unpack(local, "1", tree)
    release = unpack(local, "2", {**tree, "big": big[:100_000] + b"!" + big[100_000:]})
    await far.ship(stock, "1")
    base = Path(far.path) / "releases/1"
    (base / "big").write_bytes(big[:-1] + bytes([big[-1] ^ 1]))
    (base / "lib/code.py").unlink()
    (base / "same").unlink()
    (base / "same").mkdir()
    shutil.rmtree(base / "hollow")
    (base / "to-lib").unlink()
    (base / "to-lib").write_bytes(b"")
    shipped = await far.ship(stock, "2")
    assert there(far, "2") == seen(release)
    assert 300_000 < shipped.sent_bytes < 420_000
    assert left(far) == ["1", "2"]


async def test_what_the_application_has_written_beside_is_not_copied(
    local: WorkingDirectory, stock: Stock, far: FarDirectory
) -> None:
    unpack(local, "1", APP)
    release = unpack(local, "2", {**APP, "new": b"1"})
    await far.ship(stock, "1")
    plant(Path(far.path) / "releases/1", {"cache/x": b"x" * 1000, "log": b"y"})
    await far.ship(stock, "2")
    assert there(far, "2") == seen(release)


async def test_a_base_that_is_gone_there_does_no_harm(local: WorkingDirectory, stock: Stock, far: FarDirectory) -> None:
    unpack(local, "1", APP)
    release = unpack(local, "2", {**APP, "new": b"1"})
    await far.ship(stock, "1")
    shutil.rmtree(Path(far.path) / "releases/1")
    plant(Path(far.path) / "releases/1", {})
    await far.ship(stock, "2")
    assert there(far, "2") == seen(release)


async def test_a_release_of_other_content_takes_the_place_of_one_that_nothing_leads_to(
    local: WorkingDirectory, stock: Stock, far: FarDirectory
) -> None:
    unpack(local, "1", APP)
    await far.ship(stock, "1")
    local.remove_release("1")
    shutil.rmtree(local.path.parent / "artifact-apps-shop-1")
    release = unpack(local, "1", {"other": b"1"})
    await far.ship(Stock(local), "1")
    assert there(far, "1") == seen(release)


async def test_a_release_of_other_content_does_not_take_the_place_of_the_current_one(
    local: WorkingDirectory, stock: Stock, far: FarDirectory
) -> None:
    unpack(local, "1", APP)
    await far.ship(stock, "1")
    await far.set_current("1")
    before = there(far, "1")
    local.remove_release("1")
    shutil.rmtree(local.path.parent / "artifact-apps-shop-1")
    unpack(local, "1", {"other": b"1"})
    with pytest.raises(FilesError, match="has other content, and is what current leads to"):
        await far.ship(Stock(local), "1")
    assert there(far, "1") == before
    assert await far.current() == "1"


async def test_a_release_of_other_content_takes_the_place_of_the_current_one_where_it_may(
    local: WorkingDirectory, stock: Stock, far: FarDirectory
) -> None:
    unpack(local, "1", APP)
    await far.ship(stock, "1")
    await far.set_current("1")
    local.remove_release("1")
    shutil.rmtree(local.path.parent / "artifact-apps-shop-1")
    release = unpack(local, "1", {"other": b"1"})
    await far.ship(Stock(local), "1", replacing=True)
    assert there(far, "1") == seen(release)
    assert await far.current() is None
    assert left(far) == ["1"]


async def test_the_current_release_stays_so_where_nothing_has_to_be_replaced(
    local: WorkingDirectory, stock: Stock, far: FarDirectory
) -> None:
    unpack(local, "1", APP)
    await far.ship(stock, "1")
    await far.set_current("1")
    await far.ship(stock, "1", replacing=True)
    assert await far.current() == "1"


async def test_all_files_of_a_release_have_one_time_wherever_it_is(
    local: WorkingDirectory, stock: Stock, far: FarDirectory, tmp_path: Path
) -> None:
    unpack(local, "1", APP)
    unpack(local, "2", {**APP, "new": b"1"})
    other_host = ShHost(plant(tmp_path / "web2", {}), "web2")
    other = FarDirectory(other_host, str(other_host.home / "shop"))
    await far.ship(stock, "1")
    await far.ship(stock, "2")
    await other.ship(stock, "2")
    assert len(times(far, "2") | times(other, "2")) == 1


async def test_progress_is_said_up_to_the_last_byte(local: WorkingDirectory, stock: Stock, far: FarDirectory) -> None:
    unpack(local, "1", {"big": os.urandom(1_000_000)})
    said: list[tuple[int, int]] = []
    shipped = await far.ship(stock, "1", progress=lambda sent, total: said.append((sent, total)))
    assert len(said) > 3
    assert said == sorted(said)
    assert said[-1] == (shipped.sent_bytes, shipped.sent_bytes)


async def test_a_copy_of_the_managers_own_that_was_changed_is_told(
    local: WorkingDirectory, stock: Stock, far: FarDirectory
) -> None:
    release = unpack(local, "1", APP)
    await stock.manifest("1")
    (release / "lib/code.py").write_bytes(b"print(2)\n")
    with pytest.raises(FilesError, match="manager's own copy, has been changed"):
        await far.ship(stock, "1")
    assert left(far) == []


async def test_a_release_that_the_manager_does_not_have_is_told(stock: Stock, far: FarDirectory) -> None:
    with pytest.raises(FilesError, match="no complete release"):
        await far.ship(stock, "7")


# ---------------------------------------------------------------------------------------------- shared


async def test_shared_paths_begin_as_what_the_release_brings_and_stay_as_they_are(
    local: WorkingDirectory, stock: Stock, far: FarDirectory
) -> None:
    paths = ("uploads", "config/.env", "var/a b/c")
    tree: Tree = {**APP, "uploads/first": b"1", "config/.env": File(b"A=1", 0o600), "config/x": b"x"}
    release = unpack(local, "1", tree, paths)
    unpack(local, "2", {**tree, "uploads/second": b"2"}, paths)
    await far.ship(stock, "1", paths)
    assert there(far, "1") == seen(release)
    shared = Path(far.path) / "shared"
    assert seen(shared) == seen(local.shared)
    assert (Path(far.path) / "releases/1/uploads/first").read_bytes() == b"1"
    (shared / "uploads/first").write_bytes(b"theirs")
    (shared / "config/.env").unlink()
    await far.ship(stock, "2", paths)
    assert (shared / "uploads/first").read_bytes() == b"theirs"
    assert not (shared / "uploads/second").exists()
    assert (shared / "config/.env").read_bytes() == b"A=1"


# ---------------------------------------------------------------------------------------------- the rest


async def test_a_directory_has_one_owner(far: FarDirectory) -> None:
    assert await far.holder() is None
    await far.claim("shop of manager 1")
    await far.claim("shop of manager 1")
    assert await far.holder() == "shop of manager 1"
    with pytest.raises(FilesError, match=r"host web1: .* belongs to shop of manager 1: give this deployment"):
        await far.claim("shop of manager 2")
    await far.disclaim("shop of manager 2")
    assert await far.holder() == "shop of manager 1"
    await far.disclaim("shop of manager 1")
    assert await far.holder() is None


async def test_current_leads_where_it_is_told_to(local: WorkingDirectory, stock: Stock, far: FarDirectory) -> None:
    assert await far.current() is None
    unpack(local, "1", APP)
    await far.ship(stock, "1")
    assert [await far.set_current("1"), await far.set_current("1")] == [True, False]
    assert await far.current() == "1"
    assert (Path(far.path) / "current/server").is_file()
    with pytest.raises(FilesError, match="no release 2"):
        await far.set_current("2")
    with pytest.raises(FilesError, match="what current leads to"):
        await far.remove_release("1")
    assert [await far.set_current(None), await far.set_current(None)] == [True, False]
    assert await far.current() is None


async def test_what_somebody_else_has_put_in_place_of_the_link_is_left_where_there_was_none_of_ours(
    local: WorkingDirectory, stock: Stock, far: FarDirectory
) -> None:
    unpack(local, "1", APP)
    await far.ship(stock, "1")
    current = Path(far.path) / "current"
    current.symlink_to("elsewhere")
    assert not await far.set_current(None)
    assert str(current.readlink()) == "elsewhere"
    current.unlink()
    current.mkdir()
    assert not await far.set_current(None)
    assert current.is_dir()


async def test_releases_are_told_removed_and_swept(local: WorkingDirectory, stock: Stock, far: FarDirectory) -> None:
    for version in ("1", "2"):
        unpack(local, version, {**APP, "version": version.encode()})
        await far.ship(stock, version)
    assert {version: far_one.digest for version, far_one in (await far.standing()).releases.items()} == {
        version: (await stock.manifest(version)).digest for version in ("1", "2")
    }
    for _ in range(2):
        await far.remove_release("1")
    assert list((await far.standing()).releases) == ["2"]
    plant(Path(far.path) / "releases", {".3.staging-abc/x": b"", ".4.removing-12/y": b""})
    assert sorted(await far.sweep()) == [".3.staging-abc", ".4.removing-12"]
    assert left(far) == ["2"]


async def test_removing_all_leaves_what_is_the_applications(
    local: WorkingDirectory, stock: Stock, far: FarDirectory
) -> None:
    unpack(local, "1", {**APP, "uploads/x": b"x"}, ["uploads"])
    await far.claim("me")
    plant(Path(far.path), {"own": b"o"})
    await far.ship(stock, "1", ["uploads"])
    await far.set_current("1")
    for _ in range(2):
        await far.remove_all()
    assert set(seen(Path(far.path))) == {"own", "shared", "shared/uploads", "shared/uploads/x", ".longshore.lock"}


async def test_removing_all_of_a_directory_that_never_was_is_harmless(far: FarDirectory) -> None:
    await far.remove_all()
    await far.disclaim("me")
    await far.set_current(None)
    await far.remove_release("1")
    assert await far.sweep() == []


async def test_whoever_ships_claims_the_directory_first(
    local: WorkingDirectory, stock: Stock, far: FarDirectory, host: ShHost
) -> None:
    unpack(local, "1", APP)
    await far.ship(stock, "1", owner="shop of manager 1")
    assert await far.holder() == "shop of manager 1"
    before = host.scripts
    await far.ship(stock, "1", owner="shop of manager 1")
    assert host.scripts == before + 1
    found = seen(Path(far.path))
    with pytest.raises(FilesError, match="belongs to shop of manager 1"):
        await far.ship(stock, "1", owner="shop of manager 2")
    assert seen(Path(far.path)) == found


async def test_what_was_there_before_stays_as_it_is(local: WorkingDirectory, stock: Stock, far: FarDirectory) -> None:
    before: Tree = {**ODD, "app/run": File(b"#!/bin/sh\n", 0o755), "app/in": Link("../-n"), "setgid": Folder(0o2775)}
    found = seen(plant(Path(far.path), before))
    unpack(local, "1", APP)
    await far.claim("me")
    await far.ship(stock, "1")
    await far.set_current("1")
    assert {name: each for name, each in seen(Path(far.path)).items() if name.split("/")[0] in found} == found
    await far.set_current(None)
    await far.remove_all()
    await far.disclaim("me")
    assert seen(Path(far.path)) == found


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        ({"srv/shop": b""}, "is not a directory"),
        ({"srv": b""}, "is not a directory"),
        ({"srv/shop/current/x": b""}, "'.*/srv/shop/current' is not Longshore's"),
        ({"srv/shop/releases/x": b""}, "'.*/srv/shop/releases' is not Longshore's"),
        ({"srv/shop/shared": b""}, "'.*/srv/shop/shared' is not Longshore's"),
    ],
)
async def test_a_directory_that_cannot_be_used_is_told(far: FarDirectory, host: ShHost, tree: Tree, says: str) -> None:
    before = seen(plant(host.home, tree))
    with pytest.raises(FilesError, match=says):
        await far.check()
    with pytest.raises(FilesError, match=says):
        await far.claim("me")
    assert seen(host.home) == before


async def test_checking_says_what_is_free_and_changes_nothing(far: FarDirectory, host: ShHost) -> None:
    standing = await far.check()
    assert standing.free_bytes > 1_000_000
    assert seen(host.home) == {}


@pytest.mark.parametrize("path", ["relative", "/", "/srv/../etc"])
async def test_a_path_that_is_no_place_for_it_is_told(host: ShHost, path: str) -> None:
    with pytest.raises(FilesError, match="must be absolute"):
        await FarDirectory(host, path).check()
