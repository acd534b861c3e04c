"""What every kind of ARTIFACTS keeps, in every form it comes in."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longshore.artifacts import ARTIFACTS, ArtifactError, ArtifactMissing, Limits, find
from support.artifacts import APP, FORMS, TREE_ENDINGS, Item, build, directory, symlink, tree_of

LIMITS = Limits()
FORM = pytest.mark.parametrize(
    ("kind", "ending"), [(kind, ending) for kind, endings in FORMS.items() for ending in endings]
)
TREE = pytest.mark.parametrize("ending", TREE_ENDINGS)
ARCHIVE = pytest.mark.parametrize("ending", [ending for ending in TREE_ENDINGS if ending])


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    path = tmp_path / "destination"
    path.mkdir()
    return path


def refusals(path: Path, destination: Path, limits: Limits = LIMITS) -> tuple[str, str]:
    """What scan() and unpack() say when they refuse."""
    artifact = find(path)
    with pytest.raises(ArtifactError) as scanned:
        artifact.scan(path, limits)
    assert not list(destination.iterdir())
    with pytest.raises(ArtifactError) as unpacked:
        artifact.unpack(path, destination, limits)
    return str(scanned.value), str(unpacked.value)


def test_every_kind_has_a_builder_in_the_test_support() -> None:
    assert set(FORMS) == set(ARTIFACTS)


def test_every_kind_is_registered_under_its_own_name() -> None:
    assert {kind: artifact.name for kind, artifact in ARTIFACTS.items()} == {kind: kind for kind in ARTIFACTS}


@FORM
def test_each_form_is_taken_by_its_kind(kind: str, ending: str, tmp_path: Path) -> None:
    assert find(build(tmp_path, ending, APP)).name == kind


@FORM
def test_a_scan_and_an_unpack_agree_on_the_hash(kind: str, ending: str, tmp_path: Path, destination: Path) -> None:
    path = build(tmp_path, ending, APP)
    scan = ARTIFACTS[kind].scan(path, LIMITS)
    assert ARTIFACTS[kind].unpack(path, destination, LIMITS) == scan.sha256


@pytest.mark.parametrize("ending", [ending for endings in FORMS.values() for ending in endings if ending])
def test_the_hash_of_a_file_is_what_sha256sum_says(ending: str, tmp_path: Path) -> None:
    path = build(tmp_path, ending, APP)
    assert find(path).scan(path, LIMITS).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@FORM
def test_unpacking_twice_makes_the_same_tree_twice(kind: str, ending: str, tmp_path: Path, destination: Path) -> None:
    path = build(tmp_path, ending, APP)
    again = tmp_path / "again"
    again.mkdir()
    first = ARTIFACTS[kind].unpack(path, destination, LIMITS)
    assert ARTIFACTS[kind].unpack(path, again, LIMITS) == first
    assert tree_of(again) == tree_of(destination)


@FORM
def test_a_scan_counts_what_an_unpack_writes(kind: str, ending: str, tmp_path: Path, destination: Path) -> None:
    path = build(tmp_path, ending, APP)
    scan = ARTIFACTS[kind].scan(path, LIMITS)
    ARTIFACTS[kind].unpack(path, destination, LIMITS)
    tree = tree_of(destination)
    assert scan.entries == len(tree)
    assert scan.size_bytes == sum(len(content) for what, _, content in tree.values() if what == "file")


@FORM
def test_an_artifact_that_is_not_there_is_missing(kind: str, ending: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactMissing, match="does not exist"):
        find(tmp_path / f"nowhere{ending}")
    with pytest.raises(ArtifactMissing, match="does not exist"):
        ARTIFACTS[kind].scan(tmp_path / f"nowhere{ending}", LIMITS)


@TREE
def test_every_form_of_a_tree_unpacks_to_the_same(ending: str, tmp_path: Path, destination: Path) -> None:
    path = build(tmp_path, ending, APP)
    find(path).unpack(path, destination, LIMITS)
    assert tree_of(destination) == {
        "bin": ("directory", 0o755, b""),
        "bin/tool": ("file", 0o755, b"#!/bin/sh\necho tool\n"),
        "server": ("file", 0o755, b"\x7fELF not really"),
        "Procfile": ("file", 0o644, b"web: ./server --port $PORT\nworker: bin/tool\n"),
        "static": ("directory", 0o755, b""),
        "static/deep": ("directory", 0o755, b""),
        "static/deep/page.html": ("file", 0o644, b"<p>hello</p>"),
        "empty": ("file", 0o644, b""),
        "void": ("directory", 0o755, b""),
        "latest": ("symlink", 0, b"static/deep/page.html"),
        "static/up": ("symlink", 0, b"../bin"),
    }


@TREE
def test_a_scan_finds_the_procfile_and_the_programs_at_the_top(ending: str, tmp_path: Path) -> None:
    path = build(tmp_path, ending, APP)
    scan = find(path).scan(path, LIMITS)
    assert scan.procfile == "web: ./server --port $PORT\nworker: bin/tool\n"
    assert scan.executables == ("server",)


@dataclass(frozen=True)
class Hostile:
    items: tuple[Item, ...]
    #: what the message says
    says: str
    kinds: tuple[str, ...] = ("directory", "tar", "zip")


ARCHIVES = ("tar", "zip")
HOSTILE = {
    "absolute name": Hostile((Item("/tmp/evil"),), "is absolute", ARCHIVES),
    "dot-dot": Hostile((Item("../evil"),), r"'\.\.'", ARCHIVES),
    "dot-dot in the middle": Hostile((Item("a/../../evil"),), r"'\.\.'", ARCHIVES),
    "absolute link": Hostile((symlink("l", "/etc/passwd"),), "absolute path"),
    "link out": Hostile((symlink("a/l", "../../evil"),), "leads out"),
    "link out and in again": Hostile((symlink("l", "../destination/x"),), "leads out"),
    "link out by a chain": Hostile((symlink("a/up", ".."), symlink("l", "a/up/../x")), "leads out"),
    "link out by a later link": Hostile((symlink("l", "a/up/../x"), symlink("a/up", "..")), "leads out"),
    "links in a circle": Hostile((symlink("a", "b"), symlink("b", "a")), "circle"),
    "writing through a link": Hostile((symlink("l", "a"), directory("a"), Item("l/evil")), "is a link", ARCHIVES),
    "file in place of a link": Hostile((symlink("l", "x"), Item("l")), "twice", ARCHIVES),
    "link in place of a directory": Hostile((Item("a/x"), symlink("a", "b")), "twice", ARCHIVES),
    "entry below a file": Hostile((Item("a"), Item("a/b")), "is a file", ARCHIVES),
    "same name twice": Hostile((Item("a", b"1"), Item("./a", b"2")), "twice", ARCHIVES),
    "directory in place of a file": Hostile((Item("a"), directory("a")), "twice", ARCHIVES),
    "fifo": Hostile((Item("pipe", kind="fifo"),), "fifo"),
    "setuid": Hostile((Item("su", b"x", 0o4755),), "setuid"),
    "setgid": Hostile((Item("sg", b"x", 0o2755),), "setgid"),
    "name too long": Hostile((Item("n" * 256),), "too long", ARCHIVES),
    "path too long": Hostile((Item("/".join(["p" * 200] * 11)),), "too long"),
    "too deep": Hostile((Item("/".join("d" * 129)),), "deep"),
    "procfile too long": Hostile((Item("Procfile", b"#" * 65537),), "64 KiB"),
    "procfile not text": Hostile((Item("Procfile", b"\xff\xfe"),), "UTF-8"),
    "hard link out": Hostile((Item("h", kind="hardlink", target="../x"),), r"'\.\.'", ("tar",)),
    "hard link to nothing": Hostile((Item("h", kind="hardlink", target="x"),), "comes before", ("tar",)),
    "hard link to a link": Hostile(
        (symlink("l", "x"), Item("h", kind="hardlink", target="l")), "comes before", ("tar",)
    ),
    "top directory as a link": Hostile((symlink(".", "x"),), "top directory", ARCHIVES),
}


@pytest.mark.parametrize(
    ("ending", "name"),
    [
        (ending, name)
        for ending, kind in TREE_ENDINGS.items()
        for name, hostile in HOSTILE.items()
        if kind in hostile.kinds
    ],
)
def test_what_is_hostile_is_refused_alike_by_scan_and_unpack(
    ending: str, name: str, tmp_path: Path, destination: Path
) -> None:
    hostile = HOSTILE[name]
    scanned, unpacked = refusals(build(tmp_path, ending, (Item("good"), *hostile.items)), destination)
    assert scanned == unpacked
    with pytest.raises(ArtifactError, match=hostile.says):
        raise ArtifactError(scanned)
    assert sorted(place.name for place in tmp_path.iterdir()) == sorted({f"app{ending}", "destination"})


LIMIT_CASES = {
    "count": (Limits(max_entries=3), "more than 3 entries"),
    "size": (Limits(max_bytes=1000), "more than 1000 bytes"),
    "ratio": (Limits(max_ratio=5, ratio_floor_bytes=1000), "5 times"),
}


@pytest.mark.parametrize(
    ("ending", "case"),
    # What is not compressed has no ratio to speak of.
    [
        (ending, case)
        for ending in TREE_ENDINGS
        for case in LIMIT_CASES
        if case != "ratio" or ending not in ("", ".tar")
    ],
)
def test_what_is_over_a_limit_is_refused(case: str, ending: str, tmp_path: Path, destination: Path) -> None:
    limits, says = LIMIT_CASES[case]
    path = build(tmp_path, ending, tuple(Item(f"{number}/zeros", bytes(100_000)) for number in range(3)))
    scanned, unpacked = refusals(path, destination, limits)
    assert scanned == unpacked
    assert says in scanned


@ARCHIVE
def test_an_archive_cut_short_anywhere_is_refused(ending: str, tmp_path: Path, destination: Path) -> None:
    path = build(tmp_path, ending, (Item("a", os.urandom(3000)), Item("b", b"x" * 3000)))
    whole = path.read_bytes()
    # A plain tar ends in padding, which is not content: one zero block of it must be left.
    last = 2 * 3072 + 2 * 512 if ending == ".tar" else len(whole) - 1
    for length in {*range(0, last, 97), *range(max(0, last - 40), last + 1)}:
        path.write_bytes(whole[:length])
        with pytest.raises(ArtifactError):
            find(path).scan(path, LIMITS)


@ARCHIVE
def test_content_that_is_not_what_the_ending_says_is_refused(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"app{ending}"
    for content in (b"", b"#!/bin/sh\necho\n", b"x" * 5000):
        path.write_bytes(content)
        with pytest.raises(ArtifactError, match="not what its ending says"):
            find(path)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
@ARCHIVE
def test_flipped_bytes_never_write_outside_and_never_disagree(
    ending: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    base = tmp_path_factory.mktemp("flip")
    top, destination = base / "top", base / "top" / "destination"
    destination.mkdir(parents=True)
    path = build(base, ending, APP)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        scanned = find(path).scan(path, LIMITS).sha256
    except ArtifactError as error:
        scanned = str(error)
    try:
        unpacked = find(path).unpack(path, destination, LIMITS)
    except ArtifactError as error:
        unpacked = str(error)
    assert unpacked == scanned
    assert list(top.iterdir()) == [destination]
    for place in destination.rglob("*"):
        assert place.resolve().is_relative_to(destination)


PARTS = st.text(st.characters(exclude_characters="/\\\0", exclude_categories=("Cs",)), min_size=1, max_size=12).filter(
    lambda part: part not in (".", "..", "Procfile")
)
TREES = st.dictionaries(
    st.lists(PARTS, min_size=1, max_size=3).map(tuple),
    st.tuples(st.binary(max_size=300), st.sampled_from([0o644, 0o755, 0o600])),
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(tree=TREES)
@TREE
def test_any_tree_comes_out_as_it_went_in(
    ending: str, tree: dict[tuple[str, ...], tuple[bytes, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    files = {
        "/".join(parts): file
        for parts, file in tree.items()
        if not any(other != parts and other[: len(parts)] == parts for other in tree)
    }
    base = tmp_path_factory.mktemp("tree")
    path = build(base, ending, tuple(Item(name, content, mode) for name, (content, mode) in files.items()))
    destination = base / "destination"
    destination.mkdir()
    assert find(path).unpack(path, destination, LIMITS) == find(path).scan(path, LIMITS).sha256
    found = {name: (content, mode) for name, (kind, mode, content) in tree_of(destination).items() if kind == "file"}
    assert found == files
