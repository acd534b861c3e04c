from __future__ import annotations

import gzip
import io
import subprocess
import tarfile
from pathlib import Path

import pytest
import zstandard

from longshore.artifacts import ArtifactError, Limits
from longshore.artifacts.tarball import MAX_HEADER, Tarball
from support.artifacts import APP, Item, build, directory, tar_bytes, tree_of

TAR = Tarball()
LIMITS = Limits()


def unpack(path: Path, where: Path) -> dict[str, tuple[str, int, bytes]]:
    where.mkdir()
    TAR.unpack(path, where, LIMITS)
    return tree_of(where)


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_tar_format_unpacks_to_the_same(format: int, tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(tar_bytes((*APP, Item("long/" + "n" * 90, b"1")), format))
    assert unpack(path, tmp_path / "out")["long/" + "n" * 90] == ("file", 0o644, b"1")


def test_a_tar_packed_by_tar_itself_from_a_dot_unpacks(tmp_path: Path) -> None:
    source = build(tmp_path, "", APP)
    subprocess.run(["tar", "-C", source, "-czf", tmp_path / "x.tgz", "."], check=True)
    assert unpack(tmp_path / "x.tgz", tmp_path / "out") == tree_of(source)


def test_a_single_directory_at_the_top_is_not_stripped(tmp_path: Path) -> None:
    path = build(tmp_path, ".tar", (directory("app-1.0"), Item("app-1.0/run")))
    assert set(unpack(path, tmp_path / "out")) == {"app-1.0", "app-1.0/run"}


def test_a_hard_link_becomes_a_copy_that_shares_nothing(tmp_path: Path) -> None:
    path = build(tmp_path, ".tar", (Item("a", b"one", 0o755), Item("b", kind="hardlink", target="a")))
    assert unpack(path, tmp_path / "out")["b"] == ("file", 0o755, b"one")
    assert (tmp_path / "out" / "b").stat().st_nlink == 1
    assert TAR.scan(path, LIMITS).executables == ("a", "b")


def test_copies_of_hard_links_count_against_the_limit(tmp_path: Path) -> None:
    links = tuple(Item(f"l{number}", kind="hardlink", target="a") for number in range(20))
    path = build(tmp_path, ".tar", (Item("a", bytes(1000)), *links))
    with pytest.raises(ArtifactError, match="more than 5000 bytes"):
        TAR.scan(path, Limits(max_bytes=5000))


def test_a_sparse_file_is_unpacked_with_its_holes_and_counted_whole(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.seek(3_000_000)
        file.write(b"end")
    subprocess.run(["tar", "-C", tmp_path, "-Scf", tmp_path / "x.tar", "sparse"], check=True)
    assert (tmp_path / "x.tar").stat().st_size < 100_000
    assert unpack(tmp_path / "x.tar", tmp_path / "out")["sparse"][2] == bytes(3_000_000) + b"end"
    assert TAR.scan(tmp_path / "x.tar", LIMITS).size_bytes == 3_000_003


def test_setgid_on_a_directory_and_write_bits_for_others_are_dropped(tmp_path: Path) -> None:
    path = build(tmp_path, ".tar", (directory("d", 0o2777), Item("d/f", b"", 0o666), Item("d/r", b"", 0o444)))
    found = unpack(path, tmp_path / "out")
    assert [found[name][1] for name in ("d", "d/f", "d/r")] == [0o755, 0o644, 0o644]


def test_a_directory_may_be_named_after_what_is_in_it_and_again(tmp_path: Path) -> None:
    path = build(tmp_path, ".tar", (Item("d/f"), directory("d", 0o700), directory("d/", 0o700)))
    assert unpack(path, tmp_path / "out")["d"] == ("directory", 0o700, b"")


def test_two_archives_joined_are_refused_rather_than_half_read(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(tar_bytes((Item("a"),)) + tar_bytes((Item("b"),)))
    with pytest.raises(ArtifactError, match="joined"):
        TAR.scan(path, LIMITS)


def test_a_tar_without_the_mark_at_its_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(tar_bytes((Item("a", b"1"),))[:1024])
    with pytest.raises(ArtifactError, match="mark at the end"):
        TAR.scan(path, LIMITS)


def test_a_damaged_header_in_the_middle_is_not_taken_for_the_end(tmp_path: Path) -> None:
    data = bytearray(tar_bytes((Item("a", b"1"), Item("b", b"2"))))
    data[1024] ^= 0xFF
    path = tmp_path / "x.tar"
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match="header"):
        TAR.scan(path, LIMITS)


def test_a_header_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("x")
    info.pax_headers = {"comment": "c" * (MAX_HEADER + 1)}
    path = tmp_path / "x.tar.gz"
    path.write_bytes(gzip.compress(info.tobuf(tarfile.PAX_FORMAT) + bytes(1024)))
    with pytest.raises(ArtifactError, match="256 KiB"):
        TAR.scan(path, LIMITS)


def test_headers_nested_without_end_are_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 2
    path = tmp_path / "x.tar"
    path.write_bytes((info.tobuf(tarfile.GNU_FORMAT) + b"a\0".ljust(512, b"\0")) * 1000 + bytes(1024))
    with pytest.raises(ArtifactError):
        TAR.scan(path, LIMITS)


def test_names_that_are_not_utf_8_are_kept_byte_for_byte(tmp_path: Path) -> None:
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT, errors="surrogateescape") as tar:
        tar.addfile(tarfile.TarInfo(name))
    path = tmp_path / "x.tar"
    path.write_bytes(buffer.getvalue())
    assert set(unpack(path, tmp_path / "out")) == {name}


def test_zstd_with_several_frames_and_skippable_ones_is_read_whole(tmp_path: Path) -> None:
    data = tar_bytes((Item("a", bytes(300_000)), Item("b", b"2")))
    compress = zstandard.ZstdCompressor(write_checksum=True).compress
    skippable = b"\x50\x2a\x4d\x18" + (3).to_bytes(4, "little") + b"xyz"
    path = tmp_path / "x.tar.zst"
    path.write_bytes(compress(data[:100_000]) + skippable + compress(data[100_000:]))
    assert unpack(path, tmp_path / "out")["b"] == ("file", 0o644, b"2")


def test_an_ending_in_capitals_is_the_same_ending(tmp_path: Path) -> None:
    assert TAR.matches(build(tmp_path, ".tar.gz", APP).rename(tmp_path / "APP.TAR.GZ"))


def test_an_archive_of_nothing_is_a_release_of_nothing(tmp_path: Path) -> None:
    assert TAR.scan(build(tmp_path, ".tar", ()), LIMITS).entries == 0
