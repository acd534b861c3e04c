from __future__ import annotations

import fcntl
import os
import socket
import stat
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from longshore.artifacts import ArtifactError, ArtifactMissing, Limits
from longshore.files import FilesError, Unpacked, WorkingDirectory
from longshore.files.staging import staging
from support.artifacts import APP, Item, build, symlink

LIMITS = Limits()


@pytest.fixture
def place(tmp_path: Path) -> WorkingDirectory:
    return WorkingDirectory(tmp_path / "site")


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return build(tmp_path, ".tar.gz", APP)


def unpack(
    place: WorkingDirectory, artifact: Path, version: str = "1", sha256: str = "", shared: tuple[str, ...] = ()
) -> Unpacked:
    return place.unpack_release(artifact, version, sha256, shared, LIMITS, None)


def everything(place: WorkingDirectory) -> set[str]:
    return {str(path.relative_to(place.path)) for path in place.path.rglob("*")}


# ---------------------------------------------------------------------------------------------- releases


def test_a_release_is_unpacked_under_its_version(place: WorkingDirectory, artifact: Path) -> None:
    path, sha256, size = unpack(place, artifact)
    assert path == place.path / "releases" / "1"
    assert (path / "server").read_bytes() == b"\x7fELF not really"
    assert place.release("1") == (path, sha256, size)
    assert size == sum(len(item.content) for item in APP)
    assert place.versions() == ["1"]
    assert [entry.name for entry in place.releases.iterdir()] == ["1"]


def test_unpacking_again_keeps_what_is_there(place: WorkingDirectory, artifact: Path) -> None:
    first = unpack(place, artifact)
    before = (first.path / "server").stat().st_ino
    assert unpack(place, artifact) == first
    assert (first.path / "server").stat().st_ino == before


def test_a_kept_release_does_not_need_its_artifact_any_more(place: WorkingDirectory, artifact: Path) -> None:
    first = unpack(place, artifact)
    artifact.unlink()
    assert unpack(place, artifact, sha256=first.sha256.upper()) == first


def test_a_version_never_changes_its_content(place: WorkingDirectory, artifact: Path, tmp_path: Path) -> None:
    first = unpack(place, artifact)
    other = build(tmp_path, ".zip", APP)
    with pytest.raises(ArtifactError, match="never changes"):
        unpack(place, other)
    assert place.release("1") == first


def test_a_version_never_changes_its_shared_paths(place: WorkingDirectory, artifact: Path) -> None:
    unpack(place, artifact, shared=("void", "empty"))
    unpack(place, artifact, shared=("empty", "void/"))
    with pytest.raises(ArtifactError, match="shared_paths"):
        unpack(place, artifact, shared=("void",))


def test_another_hash_than_expected_leaves_nothing_behind(place: WorkingDirectory, artifact: Path) -> None:
    place.claim("me")
    before = everything(place)
    with pytest.raises(ArtifactError, match="as was expected"):
        unpack(place, artifact, sha256="0" * 64, shared=("void",))
    assert everything(place) == before


@pytest.mark.parametrize("bad", [(Item("a"), Item("../evil")), (Item("a"), symlink("l", "/etc"))])
def test_a_hostile_archive_leaves_nothing_behind(
    place: WorkingDirectory, bad: tuple[Item, ...], tmp_path: Path
) -> None:
    place.claim("me")
    before = everything(place)
    with pytest.raises(ArtifactError):
        unpack(place, build(tmp_path, ".tar", bad))
    assert everything(place) == before


def test_an_artifact_that_is_missing_is_called_missing(place: WorkingDirectory, tmp_path: Path) -> None:
    with pytest.raises(ArtifactMissing):
        unpack(place, tmp_path / "nowhere")


@pytest.mark.parametrize("version", ["", ".", "..", "../x", "a/b", ".hidden", "-x", "x" * 129, "a\n", "a b"])
def test_a_version_that_is_no_version_is_refused(place: WorkingDirectory, artifact: Path, version: str) -> None:
    with pytest.raises(FilesError, match="is no version"):
        unpack(place, artifact, version)
    assert not place.path.exists()


def test_a_directory_somebody_else_put_among_the_releases_is_not_touched(
    place: WorkingDirectory, artifact: Path
) -> None:
    place.claim("me")
    (place.releases / "1").mkdir()
    with pytest.raises(FilesError, match="not made by Longshore"):
        unpack(place, artifact)
    assert place.versions() == []


def test_a_removed_release_is_gone_and_removing_it_again_is_harmless(place: WorkingDirectory, artifact: Path) -> None:
    place.claim("me")
    before = everything(place)
    unpack(place, artifact, shared=("void",))
    place.remove_release("1")
    place.remove_release("1")
    assert place.release("1") is None
    assert everything(place) - before == {"shared", "shared/void", ".longshore/releases"}


def test_the_current_release_is_not_removed(place: WorkingDirectory, artifact: Path) -> None:
    unpack(place, artifact)
    place.set_current("1")
    with pytest.raises(FilesError, match="current"):
        place.remove_release("1")


def test_the_umask_has_no_say(place: WorkingDirectory, artifact: Path) -> None:
    before = os.umask(0o077)
    try:
        path = unpack(place, artifact, shared=("void",)).path
    finally:
        os.umask(before)
    for made in (place.path, place.releases, place.shared, path, path / "bin"):
        assert stat.S_IMODE(made.stat().st_mode) == 0o755


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_all_files_of_a_release_are_given_to_its_owner(place: WorkingDirectory, artifact: Path) -> None:
    path = place.unpack_release(artifact, "1", "", ("void",), LIMITS, (4711, 4712)).path
    for made in (path, *path.rglob("*"), place.shared / "void"):
        assert (made.lstat().st_uid, made.lstat().st_gid) == (4711, 4712)
    assert place.shared.stat().st_uid == 0


# ---------------------------------------------------------------------------------------------- sweeping


def test_what_a_crash_left_is_swept(place: WorkingDirectory, artifact: Path) -> None:
    unpack(place, artifact)
    for name in (".2.staging-abc", ".0.removing-00ff"):
        (place.releases / name / "x").mkdir(parents=True)
    (place.path / ".longshore/releases/2.json").write_text("{}")
    assert place.sweep_staging() == [".0.removing-00ff", ".2.staging-abc"]
    assert [entry.name for entry in place.releases.iterdir()] == ["1"]
    assert [entry.name for entry in (place.path / ".longshore/releases").iterdir()] == ["1.json"]


def test_what_is_being_made_is_not_swept(place: WorkingDirectory) -> None:
    place.claim("me")
    with staging(place.releases, "1") as making:
        assert place.sweep_staging() == []
        assert making.is_dir()
    assert list(place.releases.iterdir()) == []


def test_sweeping_where_nothing_is_harms_nothing(place: WorkingDirectory) -> None:
    assert place.sweep_staging() == []
    assert not place.path.exists()


# ---------------------------------------------------------------------------------------------- current


def test_current_is_a_relative_link_that_follows_the_version(place: WorkingDirectory, artifact: Path) -> None:
    unpack(place, artifact)
    unpack(place, artifact, "2")
    assert place.current() is None
    for version in ("1", "2", "2"):
        place.set_current(version)
        assert place.current() == version
        assert str((place.path / "current").readlink()) == f"releases/{version}"
    place.set_current(None)
    place.set_current(None)
    assert place.current() is None


def test_current_is_never_missing_while_it_is_switched(place: WorkingDirectory, artifact: Path) -> None:
    unpack(place, artifact)
    unpack(place, artifact, "2")
    place.set_current("1")
    with ThreadPoolExecutor(1) as pool:
        switching = pool.submit(lambda: [place.set_current(version) for version in ("2", "1") * 50])
        while not switching.done():
            assert (place.path / "current" / "server").exists()
        switching.result()


def test_current_cannot_lead_to_what_is_not_there(place: WorkingDirectory) -> None:
    with pytest.raises(FilesError, match="no release"):
        place.set_current("1")


def test_a_current_of_somebody_elses_is_not_replaced(place: WorkingDirectory, artifact: Path) -> None:
    unpack(place, artifact)
    (place.path / "current").mkdir()
    with pytest.raises(FilesError, match="move it away"):
        place.set_current("1")
    assert place.current() is None


# ---------------------------------------------------------------------------------------------- shared paths


def test_shared_paths_begin_as_what_the_first_release_brings(place: WorkingDirectory, artifact: Path) -> None:
    path = unpack(place, artifact, shared=("static", "empty", "log/app")).path
    assert (place.shared / "static/deep/page.html").read_bytes() == b"<p>hello</p>"
    assert str((path / "static").readlink()) == "../../shared/static"
    assert str((path / "log/app").readlink()) == "../../../shared/log/app"
    assert (place.shared / "log/app").is_dir()
    assert (place.shared / "empty").is_file()


def test_what_is_shared_stays_when_a_release_brings_its_own(place: WorkingDirectory, artifact: Path) -> None:
    unpack(place, artifact, shared=("static", "empty"))
    (place.shared / "static/upload").write_text("by a user")
    (place.shared / "empty").write_text("configured")
    path = unpack(place, artifact, "2", shared=("static", "empty")).path
    assert (path / "static/upload").read_text() == "by a user"
    assert (path / "empty").read_text() == "configured"
    place.remove_release("2")
    assert (place.shared / "static/upload").read_text() == "by a user"


def test_shared_may_be_prepared_by_hand(place: WorkingDirectory, artifact: Path) -> None:
    place.shared.mkdir(parents=True)
    (place.shared / ".env").write_text("SECRET=1")
    assert not place.is_foreign()
    assert (unpack(place, artifact, shared=(".env",)).path / ".env").read_text() == "SECRET=1"


@pytest.mark.parametrize("paths", [("",), (".",), ("/etc",), ("../x",), ("a/../b",), ("a", "a/b"), ("a", "./a")])
def test_shared_paths_that_make_no_sense_are_refused(
    place: WorkingDirectory, artifact: Path, paths: tuple[str, ...]
) -> None:
    with pytest.raises(FilesError, match="shared path"):
        unpack(place, artifact, shared=paths)


@pytest.mark.parametrize(("path", "says"), [("latest", "a link"), ("static/up/x", "a link"), ("server/x", "a file")])
def test_a_shared_path_at_a_link_or_below_a_file_is_refused_without_a_trace(
    place: WorkingDirectory, artifact: Path, path: str, says: str
) -> None:
    with pytest.raises(ArtifactError, match=says):
        unpack(place, artifact, shared=("bin", path))
    assert list(place.releases.iterdir()) == []
    assert list(place.shared.iterdir()) == []


# ---------------------------------------------------------------------------------------------- what was there before


@pytest.fixture
def occupied(place: WorkingDirectory) -> Iterator[WorkingDirectory]:
    place.path.mkdir()
    (place.path / "app").mkdir()
    (place.path / "app/run").write_text("#!/bin/sh\n")
    (place.path / "app/run").chmod(0o4750)
    (place.path / "inside").symlink_to("app/run")
    (place.path / "outside").symlink_to("../elsewhere")
    (place.path / "absolute").symlink_to("/etc/hostname")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place.path / "app.sock"))
        yield place


def test_what_was_there_is_copied_and_left_in_place(occupied: WorkingDirectory) -> None:
    assert occupied.is_foreign()
    before = everything(occupied)
    taken = occupied.take_over()
    assert taken is not None
    assert occupied.versions() == ["pre-longshore"]
    assert not occupied.is_foreign()
    assert everything(occupied) > before
    assert stat.S_IMODE((taken.path / "app/run").stat().st_mode) == 0o4750
    assert str((taken.path / "inside").readlink()) == "app/run"
    assert str((taken.path / "outside").readlink()) == str(occupied.path.parent / "elsewhere")
    assert str((taken.path / "absolute").readlink()) == "/etc/hostname"
    assert not (taken.path / "app.sock").exists()


def test_taking_over_after_the_first_release_takes_only_what_was_there(
    occupied: WorkingDirectory, artifact: Path
) -> None:
    occupied.claim("me")
    unpack(occupied, artifact, shared=("void",))
    assert occupied.is_foreign()
    (occupied.path / "later").write_text("written by the new release")
    taken = occupied.take_over()
    assert taken is not None
    assert sorted(path.name for path in taken.path.iterdir()) == ["absolute", "app", "inside", "outside"]
    assert occupied.take_over() == taken


def test_a_take_over_that_crashed_at_its_end_is_finished(occupied: WorkingDirectory) -> None:
    taken = occupied.take_over()
    noted = occupied.path / ".longshore/first.json"
    noted.write_text(noted.read_text().replace('"pre-longshore"', "null"))
    assert occupied.is_foreign()
    assert occupied.take_over() == taken
    assert not occupied.is_foreign()


def test_a_take_over_that_is_undone_is_done_again_next_time(occupied: WorkingDirectory) -> None:
    first = occupied.take_over()
    occupied.remove_release("pre-longshore")
    assert occupied.is_foreign()
    assert occupied.take_over() == first


def test_what_was_taken_over_and_pruned_stays_pruned(occupied: WorkingDirectory, artifact: Path) -> None:
    occupied.take_over()
    unpack(occupied, artifact)
    occupied.set_current("1")
    occupied.remove_release("pre-longshore")
    assert occupied.take_over() is None
    assert occupied.versions() == ["1"]


@pytest.mark.parametrize("there", [False, True])
def test_an_empty_or_new_directory_has_nothing_to_take_over(place: WorkingDirectory, there: bool) -> None:
    if there:
        place.path.mkdir()
    assert not place.is_foreign()
    assert place.take_over() is None
    place.claim("me")
    assert not place.is_foreign()


@pytest.mark.parametrize("name", ["current", "releases"])
def test_the_layout_of_another_tool_is_refused(place: WorkingDirectory, artifact: Path, name: str) -> None:
    (place.path / name / "x").mkdir(parents=True)
    for use in (place.check, place.take_over, lambda: unpack(place, artifact), lambda: place.claim("me")):
        with pytest.raises(FilesError, match="another tool"):
            use()
    assert everything(place) == {name, f"{name}/x"}


# ---------------------------------------------------------------------------------------------- claims


def test_a_claimed_directory_is_refused_to_everybody_else(place: WorkingDirectory) -> None:
    place.claim("deployment shop of manager A")
    place.claim("deployment shop of manager A")
    with pytest.raises(FilesError, match="belongs to deployment shop of manager A"):
        place.claim("deployment shop of manager B")
    assert place.holder() == "deployment shop of manager A"


def test_a_claim_given_up_is_free_for_the_next(place: WorkingDirectory) -> None:
    place.disclaim("a")
    place.claim("a")
    place.disclaim("b")
    assert place.holder() == "a"
    place.disclaim("a")
    place.claim("b")
    assert place.holder() == "b"


def test_of_many_that_claim_at_once_one_is_the_owner(place: WorkingDirectory) -> None:
    def attempt(owner: str) -> bool:
        try:
            WorkingDirectory(place.path).claim(owner)
        except FilesError:
            return False
        return True

    place.path.mkdir()
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, [f"owner {number}" for number in range(16)])) == 1


def test_a_lock_that_stays_locked_is_named(place: WorkingDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("longshore.files.claim.LOCK_WAIT_S", 0.02)
    place.claim("a")
    with (place.path / ".longshore.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(FilesError, match="stayed locked"):
            place.claim("a")


# ---------------------------------------------------------------------------------------------- bad disks


@pytest.mark.parametrize("path", ["relative", "/"])
def test_a_working_directory_that_cannot_be_one_is_refused(path: str) -> None:
    with pytest.raises(FilesError, match="absolute"):
        WorkingDirectory(Path(path)).check()


def test_a_working_directory_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FilesError, match="not a directory"):
        WorkingDirectory(tmp_path / "file" / "x").check()


def test_free_space_is_that_of_where_the_directory_will_be(place: WorkingDirectory) -> None:
    assert place.free_bytes() > 0


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    path = tmp_path / "small"
    path.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system takes root")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", path], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield path
    subprocess.run(["umount", path], check=True)


def test_a_full_disk_is_named_and_nothing_is_left_behind(small: Path, tmp_path: Path) -> None:
    place = WorkingDirectory(small / "site")
    place.claim("me")
    before, free = everything(place), place.free_bytes()
    big = build(tmp_path, ".tar.gz", (Item("a", b"x"), Item("big", os.urandom(2_000_000))))
    with pytest.raises(FilesError, match=r"site.*disk is full: free space"):
        unpack(place, big, shared=("a",))
    assert everything(place) - {"shared"} == before
    assert place.free_bytes() >= free - 8192


def test_a_take_over_that_would_not_fit_is_refused_before_it_begins(small: Path) -> None:
    place = WorkingDirectory(small / "site")
    place.path.mkdir()
    (place.path / "data").write_bytes(bytes(700_000))
    with pytest.raises(FilesError, match="700000 bytes"):
        place.take_over()
    assert place.is_foreign()
    assert list(place.releases.iterdir()) == []


def test_a_read_only_disk_is_named(small: Path, artifact: Path) -> None:
    place = WorkingDirectory(small / "site")
    unpack(place, artifact)
    subprocess.run(["mount", "-o", "remount,ro", small], check=True)
    with pytest.raises(FilesError, match="read-only"):
        unpack(place, artifact, "2")
    with pytest.raises(FilesError, match="read-only"):
        place.set_current("1")
