"""Chunks and runs: whatever they are, they make up the file; and few bytes of it are sent."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longshore.files.far import shipment as shipments
from longshore.files.far.chunks import LARGEST, SMALLEST, Chunk, chunks_of, pack, unpack
from longshore.files.far.delta import Run, coarsened, delta, refined, sent_bytes
from longshore.files.far.manifest import Entry, Manifest

CHANCE = random.Random(11)
TEXT = b"".join(b"line %d of a text that repeats itself, more or less\n" % (number % 997) for number in range(20_000))


def written(place: Path, content: bytes) -> Path:
    place.write_bytes(content)
    return place


def chunked(directory: Path, content: bytes) -> list[Chunk]:
    return chunks_of(written(directory / "chunked", content))


def put_together(runs: Sequence[Run], new: bytes, old: dict[str, bytes]) -> bytes:
    return b"".join((new if run.source is None else old[run.source])[run.start : run.start + run.size] for run in runs)


@pytest.mark.parametrize(
    "content",
    [b"", b"x", CHANCE.randbytes(1_000_000), TEXT, bytes(1_000_000), CHANCE.randbytes(LARGEST) + bytes(300_000)],
    ids=["nothing", "a byte", "noise", "text", "zeros", "noise and zeros"],
)
def test_chunks_make_up_the_file_and_have_their_sizes(tmp_path: Path, content: bytes) -> None:
    found = chunked(tmp_path, content)
    assert sum(chunk.size for chunk in found) == len(content)
    assert all(SMALLEST <= chunk.size <= LARGEST for chunk in found[:-1])
    assert unpack(pack(found)) == found


@pytest.mark.parametrize("content", [CHANCE.randbytes(2_000_000), TEXT], ids=["noise", "text"])
def test_an_insertion_changes_few_chunks(tmp_path: Path, content: bytes) -> None:
    before = chunked(tmp_path, content)
    for place in (0, 1, 777_777, len(content)):
        after = chunked(tmp_path, content[:place] + b"inserted" + content[place:])
        assert len(set(after) - set(before)) <= 3


edits = st.lists(
    st.tuples(st.sampled_from(["insert", "cut", "replace", "move"]), st.floats(0, 1), st.integers(1, 90_000)),
    max_size=6,
)
beginnings = st.sampled_from(
    [CHANCE.randbytes(400_000), TEXT[:300_000], bytes(200_000) + CHANCE.randbytes(100_000) + bytes(200_000)]
)


@settings(max_examples=60, deadline=None)
@given(beginnings, edits)
def test_runs_make_up_the_file_whatever_was_done_to_it(old: bytes, done: list[tuple[str, float, int]]) -> None:
    new, fresh = bytearray(old), 0
    for what, where, size in done:
        place = int(where * len(new))
        piece = bytes(new[place : place + size])
        if what in ("cut", "replace", "move"):
            del new[place : place + size]
        if what in ("insert", "replace"):
            new[place:place] = random.Random(size).randbytes(size)
            fresh += size
        if what == "move":
            new += piece
    with tempfile.TemporaryDirectory() as name:
        before, after = written(Path(name) / "old", old), written(Path(name) / "new", bytes(new))
        runs = delta(chunks_of(after), {"old": chunks_of(before)})
        fine = refined(runs, after, lambda _: before, "old")
    files = {"old": old}
    for each in (runs, fine, coarsened(fine, 4096), coarsened(fine, 1_000_000)):
        assert put_together(each, bytes(new), files) == new
    assert sent_bytes(fine) <= sent_bytes(runs)
    # Two changes may share a chunk; what lies between them is sent then.
    assert sent_bytes(fine) <= fresh + (len(done) + 1) * 2 * LARGEST


def test_one_change_is_sent_to_the_byte(tmp_path: Path) -> None:
    old = CHANCE.randbytes(500_000)
    before = written(tmp_path / "old", old)
    for new, sent in (
        (old[:250_000] + b"#" * 10 + old[250_000:], 10),
        (old[:250_000] + b"#" * 10 + old[250_010:], 10),
        (old[:250_000] + old[300_000:], 0),
        (b"#" * 10 + old, 10),
        (old + b"#" * 10, 10),
        (old[10:], 0),
    ):
        after = written(tmp_path / "new", new)
        runs = refined(delta(chunks_of(after), {"old": chunks_of(before)}), after, lambda _: before, "old")
        # A byte may be the same by chance.
        assert sent - 2 <= sent_bytes(runs) <= sent
        assert put_together(runs, new, {"old": old}) == new


def test_a_shipment_has_no_more_runs_than_a_host_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipments, "MOST_RUNS", 50)
    size = 100 * 20_000
    entry = Entry("f", 0o644, size, "new")
    shipment, changed = shipments.outline(Manifest({"big": entry}), Manifest({"big": Entry("f", 0o644, size, "old")}))
    assert changed == {"big": ["big"]}
    runs = [
        run
        for number in range(100)
        for run in (Run("big", number * 20_000, 19_000), Run(None, number * 20_000 + 19_000, 1_000))
    ]
    assert sum(len(build.runs) for build in shipments.with_deltas(shipment, {"big": runs}).builds) <= 50
    few = shipments.with_deltas(shipment, {"big": [*runs[:40], Run("big", 400_000, size - 400_000)]})
    assert len(few.builds[0].runs) == 41


def test_of_what_a_host_has_spoilt_all_sources_are_avoided() -> None:
    from longshore.files.far.sending import spoilt

    new = Manifest({"a": Entry("f", 0o644, 40_000, "x"), "to/lib/b": Entry("f", 0o644, 40_000, "y")})
    old = Manifest({"from/lib/b": Entry("f", 0o644, 40_000, "y"), "was-a": Entry("f", 0o600, 40_000, "x")})
    shipment, _ = shipments.outline(new, old)
    assert [build.path for build in shipment.builds] == ["a"]
    assert list(shipment.moves) == [("from", "to")]
    assert {"was-a", "from/lib/b"} <= spoilt(shipment, Manifest({}))
