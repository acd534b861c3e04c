from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longshore.drivers.base import DriverError, LogLine
from longshore.drivers.logs import LINE_BYTES, MOST_BYTES, Snapshot, read, rotate, snapshot


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "app.log"


def append(log: Path, text: str) -> None:
    with log.open("a") as file:
        file.write(text)


def tail(log: Path, count: int, max_bytes: int = MOST_BYTES) -> list[str]:
    return texts(snapshot(log, count, None, max_bytes))


def texts(found: Snapshot) -> list[str]:
    return [line.text for line in (*found.lines, *((found.unfinished(),) if found.rest else ()))]


async def take(lines: AsyncGenerator[LogLine, None], count: int) -> list[str]:
    async with asyncio.timeout(10):
        return [(await anext(lines)).text for _ in range(count)]


@asynccontextmanager
async def following(log: Path) -> AsyncIterator[AsyncGenerator[LogLine, None]]:
    """Lines from here on: that one before was read says that the log is open."""
    append(log, "here\n")
    async with aclosing(read(log, tail=1, follow=True)) as lines:
        assert await take(lines, 1) == ["here"]
        yield lines


@pytest.mark.parametrize(("count", "expected"), [(0, []), (1, ["c"]), (2, ["b", "c"]), (9, ["a", "b", "c"])])
def test_the_last_lines_are_given_oldest_first(log: Path, count: int, expected: list[str]) -> None:
    log.write_text("a\nb\nc\n")
    assert tail(log, count) == expected


def test_an_unfinished_line_counts(log: Path) -> None:
    log.write_text("a\nb")
    assert tail(log, 1) == ["b"]


def test_empty_lines_are_lines(log: Path) -> None:
    log.write_text("a\n\n\n")
    assert tail(log, 2) == ["", ""]


def test_an_empty_log_has_no_lines(log: Path) -> None:
    log.write_text("")
    assert tail(log, 5) == []


def test_lines_are_found_across_rotated_files(log: Path) -> None:
    log.with_name("app.log.2").write_text("a\nb\n")
    log.with_name("app.log.1").write_text("c\nd ")
    log.write_text("e\nf\n")
    assert tail(log, 4) == ["b", "c", "d e", "f"]


def test_a_log_just_rotated_away_is_still_shown(log: Path) -> None:
    log.with_name("app.log.1").write_text("a\nb\n")
    assert tail(log, 1) == ["b"]


def test_undecodable_bytes_are_replaced(log: Path) -> None:
    log.write_bytes(b"\xff\xfeok\n")
    assert tail(log, 1) == ["\ufffd\ufffdok"]


def test_no_more_than_the_bound_is_read(log: Path) -> None:
    log.write_text("x" * 300_000)
    assert [len(line) for line in tail(log, 5, max_bytes=1000)] == [1000]


def test_many_lines_come_from_many_blocks(log: Path) -> None:
    log.write_text("".join(f"line {n}\n" for n in range(50_000)))
    assert tail(log, 20_000) == [f"line {n}" for n in range(30_000, 50_000)]


@given(texts=st.lists(st.text("ab\n", max_size=30), min_size=1, max_size=4), count=st.integers(1, 20))
def test_rotated_or_not_the_last_lines_are_the_same(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], count: int
) -> None:
    log = tmp_path_factory.mktemp("logs") / "app.log"
    log.write_text(texts[-1])
    for number, text in enumerate(reversed(texts[:-1]), 1):
        log.with_name(f"app.log.{number}").write_text(text)
    assert tail(log, count) == [line.rstrip("\n") for line in io.StringIO("".join(texts)).readlines()][-count:]


def test_a_small_log_is_not_rotated(log: Path) -> None:
    log.write_text("x" * 10)
    assert not rotate(log, max_bytes=10)
    assert not log.with_name("app.log.1").exists()


def test_a_missing_log_is_not_rotated(log: Path) -> None:
    assert not rotate(log)


def test_a_writer_goes_on_in_the_truncated_file(log: Path) -> None:
    with log.open("a") as writer:
        writer.write("old\n")
        writer.flush()
        assert rotate(log, max_bytes=1)
        writer.write("new\n")
    assert log.read_text() == "new\n"
    assert log.with_name("app.log.1").read_text() == "old\n"


def test_no_more_than_the_kept_files_stay(log: Path) -> None:
    for number in range(6):
        log.write_text(f"{number}\n")
        rotate(log, max_bytes=0, keep=3)
    names = {path.name: path.read_text() for path in log.parent.iterdir() if path.suffix != ".times"}
    assert names == {"app.log": "", "app.log.1": "5\n", "app.log.2": "4\n", "app.log.3": "3\n"}


def test_nothing_is_kept_where_nothing_is_to_be_kept(log: Path) -> None:
    log.write_text("x")
    assert rotate(log, max_bytes=0, keep=0)
    assert [path.name for path in log.parent.iterdir()] == ["app.log"]


def test_a_rotation_that_fails_leaves_the_log_as_it_was(log: Path) -> None:
    log.write_text("x")
    log.with_name("app.log.1").mkdir()
    with pytest.raises(OSError, match=r"app\.log"):
        rotate(log, max_bytes=0, keep=1)
    assert log.read_text() == "x"


async def test_following_gives_what_is_written_from_the_call_on(log: Path) -> None:
    append(log, "before\n")
    async with following(log) as lines:
        append(log, "a\nb\n")
        assert await take(lines, 2) == ["a", "b"]


async def test_following_waits_for_a_log_that_does_not_exist(log: Path) -> None:
    async with aclosing(read(log, follow=True)) as lines:
        first = asyncio.ensure_future(anext(lines))
        await asyncio.sleep(0)
        append(log, "a\n")
        assert (await asyncio.wait_for(first, 10)).text == "a"


async def test_following_gives_whole_lines_only(log: Path) -> None:
    append(log, "half")
    async with aclosing(read(log, follow=True)) as lines:
        first = asyncio.ensure_future(anext(lines))
        await asyncio.sleep(0)
        append(log, " and half\n")
        assert (await asyncio.wait_for(first, 10)).text == "half and half"


async def test_following_cuts_a_line_beyond_all_measure(log: Path) -> None:
    async with following(log) as lines:
        append(log, "x" * (3 * LINE_BYTES))
        assert len((await take(lines, 1))[0]) > LINE_BYTES


async def test_following_loses_and_repeats_nothing_across_rotations(log: Path) -> None:
    async with following(log) as lines:
        found: list[str] = []
        for batch in range(5):
            append(log, "".join(f"{batch}.{n}\n" for n in range(3)))
            found += await take(lines, 1)
            append(log, f"{batch}.3\n")
            rotate(log, max_bytes=0)
            append(log, f"{batch}.4\n")
            found += await take(lines, 4)
    assert found == [f"{batch}.{n}" for batch in range(5) for n in range(5)]


async def test_what_is_followed_has_the_times_between_which_it_was_read(log: Path) -> None:
    async with following(log) as lines:
        before = time.time()
        append(log, "a\n")
        line = await asyncio.wait_for(anext(lines), 10)
    assert line.earliest is not None
    assert line.latest is not None
    assert before - 1 <= line.earliest <= line.latest <= time.time()
    assert line.latest >= before


async def test_a_log_that_cannot_be_read_says_which(tmp_path: Path) -> None:
    with pytest.raises(DriverError, match=str(tmp_path)):
        async for _ in read(tmp_path):
            pass
