from __future__ import annotations

import errno
from pathlib import Path

import pytest

from longshore.disk import FSYNC_EACH_UP_TO, FilesError, explain, explained, free_bytes, sync_tree, write_durably


@pytest.mark.parametrize("files", [1, FSYNC_EACH_UP_TO + 1])
def test_a_small_and_a_large_tree_are_synced(files: int, tmp_path: Path) -> None:
    for number in range(files):
        (tmp_path / str(number)).write_text("x")
    (tmp_path / "dangling").symlink_to("nowhere")
    sync_tree(tmp_path)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "permission denied"),
        (errno.EXDEV, "cross-device"),
    ],
)
def test_an_error_of_the_disk_is_told_with_path_and_remedy(code: int, says: str) -> None:
    with pytest.raises(FilesError, match=f"(?i)'/the/path'.*{says}"), explained(Path("/the/path")):
        raise OSError(code, "Invalid cross-device link")


def test_the_path_the_system_names_is_the_one_that_is_told() -> None:
    assert "'/exactly/here'" in str(explain(PermissionError(errno.EACCES, "no", "/exactly/here"), Path("/somewhere")))


def test_a_text_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "note"
    write_durably(path, "one")
    write_durably(path, "two")
    assert path.read_text() == "two"
    with pytest.raises(OSError, match="directory"):
        write_durably(tmp_path / "nowhere" / "note", "three")
    path.unlink()
    path.mkdir()
    with pytest.raises(OSError, match="directory"):
        write_durably(path, "four")
    assert [entry.name for entry in tmp_path.iterdir()] == ["note"]


def test_free_space_is_asked_of_the_nearest_directory_there_is(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "not" / "yet") > 0
