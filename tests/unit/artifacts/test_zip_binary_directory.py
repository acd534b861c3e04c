from __future__ import annotations

import os
import socket
import zipfile
from pathlib import Path

import pytest

from longshore.artifacts import ArtifactError, ArtifactMissing, Limits, find
from longshore.artifacts.binary import Binary
from longshore.artifacts.directory import Directory
from longshore.artifacts.zipfile import Zip
from support.artifacts import APP, Item, build, tree_of, zip_bytes

LIMITS = Limits()


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    path = tmp_path / "destination"
    path.mkdir()
    return path


def windows_zip(path: Path, **entries: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            info = zipfile.ZipInfo(name)
            info.create_system = 0
            archive.writestr(info, content)
            info.external_attr = 0x20
    return path


def test_a_zip_without_modes_gives_programs_their_executable_bit(tmp_path: Path, destination: Path) -> None:
    path = windows_zip(tmp_path / "x.zip", script=b"#!/bin/sh\n", elf=b"\x7fELF", text=b"text")
    Zip().unpack(path, destination, LIMITS)
    assert {name: mode for name, (_, mode, _) in tree_of(destination).items()} == {
        "script": 0o755,
        "elf": 0o755,
        "text": 0o644,
    }
    assert Zip().scan(path, LIMITS).executables == ("elf", "script")


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    data = bytearray(zip_bytes((Item("secret", b"x"),)))
    # The flags of the local header and of the one in the list.
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path = tmp_path / "x.zip"
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match="encrypted"):
        Zip().scan(path, LIMITS)


def test_a_zip_with_backslashes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="backslash"):
        Zip().scan(build(tmp_path, ".zip", (Item("dir\\file"),)), LIMITS)


def test_a_zip_with_a_nul_in_a_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(zip_bytes((Item("aXb", b"x"),)).replace(b"aXb", b"a\0b"))
    with pytest.raises(ArtifactError, match="NUL"):
        Zip().scan(path, LIMITS)


def test_a_zip_whose_entries_share_their_data_is_refused(tmp_path: Path) -> None:
    data = bytearray(zip_bytes((Item("a", bytes(1000)), Item("b", bytes(1000)))))
    second = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 1)
    data[second + 42 : second + 46] = bytes(4)
    path = tmp_path / "x.zip"
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match="overlaps"):
        Zip().scan(path, LIMITS)


def test_a_zip_whose_content_does_not_fit_its_checksum_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("a", b"content")
    path.write_bytes(path.read_bytes().replace(b"content", b"CONTENT"))
    with pytest.raises(ArtifactError, match="damaged"):
        Zip().scan(path, LIMITS)


def test_a_zip_cut_short_is_called_just_that(tmp_path: Path) -> None:
    path = build(tmp_path, ".zip", APP)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ArtifactError, match="cut short"):
        find(path).scan(path, LIMITS)


@pytest.mark.parametrize(
    ("content", "mode"), [(b"\x7fELF", 0o700), (b"#!/bin/sh\n", 0o700), (b"data", 0o600), (b"", 0o600)]
)
def test_a_program_gets_its_executable_bit(content: bytes, mode: int, tmp_path: Path, destination: Path) -> None:
    path = tmp_path / "my-server"
    path.write_bytes(content)
    path.chmod(0o600)
    Binary().unpack(path, destination, LIMITS)
    assert tree_of(destination) == {"my-server": ("file", mode, content)}
    assert Binary().scan(path, LIMITS).executables == (("my-server",) if mode == 0o700 else ())


def test_an_executable_file_of_another_format_keeps_its_bit(tmp_path: Path, destination: Path) -> None:
    path = tmp_path / "app.pyz"
    path.write_bytes(b"PK\x03\x04")
    path.chmod(0o755)
    Binary().unpack(path, destination, LIMITS)
    assert tree_of(destination)["app.pyz"][1] == 0o755


@pytest.mark.parametrize("kind", ["fifo", "socket"])
def test_what_is_neither_file_nor_directory_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "special"
    if kind == "fifo":
        os.mkfifo(path)
    else:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
    with pytest.raises(ArtifactError, match=kind):
        find(path)


def test_a_fifo_named_like_an_archive_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.tar")
    with pytest.raises(ArtifactError, match="regular file"):
        find(build(tmp_path, ".bin", APP)).scan(tmp_path / "x.tar", LIMITS)


def test_a_path_with_nul_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ArtifactMissing):
        find(Path("/tmp/a\0b"))


def test_a_link_to_an_artifact_is_followed(tmp_path: Path) -> None:
    build(tmp_path, "", APP)
    (tmp_path / "link").symlink_to("app")
    assert find(tmp_path / "link").scan(tmp_path / "link", LIMITS).executables == ("server",)


def test_a_directory_that_holds_its_destination_is_refused(tmp_path: Path, destination: Path) -> None:
    with pytest.raises(ArtifactError, match="outside of the working_directory"):
        Directory().unpack(tmp_path, destination, LIMITS)


def test_a_directory_with_a_socket_is_refused(tmp_path: Path) -> None:
    source = build(tmp_path, "", APP)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(source / "s"))
    with pytest.raises(ArtifactError, match="socket"):
        Directory().scan(source, LIMITS)


def test_hard_links_of_a_directory_are_copied(tmp_path: Path, destination: Path) -> None:
    source = build(tmp_path, "", (Item("a", b"1"), Item("b", kind="hardlink", target="a")))
    Directory().unpack(source, destination, LIMITS)
    assert (destination / "a").stat().st_ino != (destination / "b").stat().st_ino


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (lambda top: os.utime(top / "server", (1, 1)), True),
        (lambda top: (top / "empty").chmod(0o664), True),
        (lambda top: (top / "empty").chmod(0o755), False),
        (lambda top: (top / "empty").write_text("x"), False),
        (lambda top: (top / "empty").rename(top / "full"), False),
        (lambda top: (top / "new").mkdir(), False),
        (lambda top: ((top / "latest").unlink(), (top / "latest").symlink_to("server")), False),
    ],
)
def test_the_hash_of_a_directory_changes_with_what_is_released(change: object, same: bool, tmp_path: Path) -> None:
    source = build(tmp_path, "", APP)
    before = Directory().scan(source, LIMITS).sha256
    assert callable(change)
    change(source)
    assert (Directory().scan(source, LIMITS).sha256 == before) == same


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read everything")
def test_an_unreadable_file_in_a_directory_is_named(tmp_path: Path) -> None:
    source = build(tmp_path, "", APP)
    (source / "server").chmod(0)
    with pytest.raises(ArtifactMissing, match="server"):
        Directory().scan(source, LIMITS)
