"""A release copied from another one: what a change of configuration rolls out."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from longshore.artifacts import Limits
from longshore.files import FilesError, WorkingDirectory
from support.artifacts import APP, Item, build, symlink

SHARED = ("storage", "etc/app.conf")


@pytest.fixture
def place(tmp_path: Path) -> WorkingDirectory:
    place = WorkingDirectory(tmp_path / "site")
    items = [*APP, symlink("alias", "server"), Item("etc/app.conf", b"colour=blue")]
    place.unpack_release(build(tmp_path, ".tar.gz", items), "1", "", SHARED, Limits(), None)
    return place


def tree(release: Path) -> dict[str, tuple[int, str]]:
    """Path → mode, and what it holds or leads to; links not followed."""
    found: dict[str, tuple[int, str]] = {}
    for path in sorted(release.rglob("*")):
        facts = path.lstat()
        held = str(path.readlink()) if path.is_symlink() else path.read_text("latin-1") if path.is_file() else ""
        found[str(path.relative_to(release))] = (stat.S_IFMT(facts.st_mode) | stat.S_IMODE(facts.st_mode), held)
    return found


def test_it_is_the_same_tree_under_another_version(place: WorkingDirectory) -> None:
    before = tree(place.releases / "1")
    copied = place.copy_release("1", "1+c1", None)
    assert tree(copied.path) == before
    source = place.release("1")
    assert source is not None
    assert place.release("1+c1") == copied
    assert copied.sha256 == source.sha256
    assert copied.size_bytes == sum(len(item.content) for item in APP)


def test_its_links_lead_to_what_is_shared_and_nothing_shared_is_copied(place: WorkingDirectory) -> None:
    (place.shared / "storage" / "upload").write_text("x" * 1000)
    copied = place.copy_release("1", "1+c1", None)
    assert (copied.path / "storage").resolve() == place.shared / "storage"
    assert (copied.path / "etc/app.conf").resolve() == place.shared / "etc/app.conf"
    (copied.path / "storage" / "upload").write_text("y")
    assert (place.shared / "storage" / "upload").read_text() == "y"
    place.remove_release("1")
    assert (copied.path / "alias").read_bytes() == b"\x7fELF not really"
    assert (copied.path / "storage" / "upload").read_text() == "y"


def test_what_the_application_wrote_beside_its_files_is_copied_but_no_socket(place: WorkingDirectory) -> None:
    release = place.releases / "1"
    (release / "cache").mkdir(mode=0o700)
    (release / "cache" / "index").write_text("written")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(release / "app.sock"))
        copied = place.copy_release("1", "1+c1", None)
    assert (copied.path / "cache" / "index").read_text() == "written"
    assert stat.S_IMODE((copied.path / "cache").stat().st_mode) == 0o700
    assert not (copied.path / "app.sock").exists()
    assert (release / "app.sock").exists()


def test_it_may_be_changed_without_changing_its_source(place: WorkingDirectory) -> None:
    copied = place.copy_release("1", "1+c1", None)
    (copied.path / "server").write_text("changed")
    assert (place.releases / "1" / "server").read_bytes() == b"\x7fELF not really"


def test_a_copy_that_is_there_is_left_as_it_is(place: WorkingDirectory) -> None:
    first = place.copy_release("1", "1+c1", None)
    inode = (first.path / "server").stat().st_ino
    assert place.copy_release("1", "1+c1", None) == first
    assert (first.path / "server").stat().st_ino == inode


def test_what_stands_in_its_place_and_is_no_copy_is_left_alone(place: WorkingDirectory, tmp_path: Path) -> None:
    (place.releases / "1+c1").mkdir()
    other = tmp_path / "other"
    other.write_text("another artifact")
    place.unpack_release(other, "1+c2", "", (), Limits(), None)
    for version in ("1+c1", "1+c2"):
        with pytest.raises(FilesError, match="is there already, and no copy of release 1: move it away"):
            place.copy_release("1", version, None)
    assert place.places() == {"1", "1+c1", "1+c2"}
    assert list((place.releases / "1+c1").iterdir()) == []


def test_a_release_that_is_gone_is_not_copied(place: WorkingDirectory) -> None:
    place.remove_release("1")
    with pytest.raises(FilesError, match="is no complete release"):
        place.copy_release("1", "1+c1", None)
    assert place.places() == set()


def test_one_that_would_not_fit_is_not_begun(place: WorkingDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "free_bytes", lambda: 3)
    with pytest.raises(FilesError, match="only 3 are free"):
        place.copy_release("1", "1+c1", None)
    assert place.places() == {"1"}


def test_one_that_is_told_to_stop_leaves_nothing(place: WorkingDirectory) -> None:
    asked = iter([False, False, True])
    with pytest.raises(FilesError, match="was stopped"):
        place.copy_release("1", "1+c1", None, lambda: next(asked))
    assert sorted(path.name for path in place.releases.iterdir()) == ["1"]
    assert place.release("1+c1") is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_its_files_belong_to_the_one_they_run_as(place: WorkingDirectory) -> None:
    copied = place.copy_release("1", "1+c1", (12345, 12346))
    for path in (copied.path, *copied.path.rglob("*")):
        assert (path.lstat().st_uid, path.lstat().st_gid) == (12345, 12346)
    assert (place.shared / "storage").stat().st_uid == 0
