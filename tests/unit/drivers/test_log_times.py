from __future__ import annotations

import os
from pathlib import Path

import pytest

from longshore.drivers import log_times
from longshore.drivers.log_times import EXACT_S, Noting
from longshore.drivers.logs import rotate, snapshot

#: some time in the past, so that the clock is never before what was written
T = 1_700_000_000.0


class Life:
    """A log in the course of time: what is written when, and when a manager looks."""

    def __init__(self, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log, self.now = log, T
        self.noting = Noting()
        monkeypatch.setattr(log_times.time, "time", lambda: self.now)
        monkeypatch.setattr(log_times.time, "monotonic", lambda: self.now)

    def write(self, at: float, text: str) -> None:
        self.now = T + at
        with self.log.open("a") as file:
            file.write(text + "\n")
        os.utime(self.log, (self.now, self.now))

    def look(self, at: float) -> None:
        self.now = T + at
        self.noting.note({self.log})

    def restart(self) -> None:
        self.noting = Noting()

    def since(self, at: float, tail: int | None = None) -> list[str]:
        return [line.text for line in snapshot(self.log, tail, T + at).lines]

    def spans(self) -> list[tuple[float | None, float | None]]:
        """Of each line, from T on."""
        lines = snapshot(self.log, None, None).lines
        return [(ago(line.earliest), ago(line.latest)) for line in lines]


def ago(moment: float | None) -> float | None:
    return None if moment is None else moment - T


@pytest.fixture
def life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Life:
    return Life(tmp_path / "app.log", monkeypatch)


def test_a_line_has_the_time_at_which_the_file_was_written(life: Life) -> None:
    for second in range(4):
        life.write(second + 0.25, f"line {second}")
        life.look(second + 0.5)
    assert [latest for _, latest in life.spans()] == [0.25, 1.25, 2.25, 3.25]
    assert life.spans()[3] == (2.25, 3.25)


def test_only_what_was_written_since_is_given(life: Life) -> None:
    for second in range(6):
        life.write(second, f"line {second}")
        life.look(second + 0.5)
    assert life.since(4) == ["line 4", "line 5"]
    assert life.since(4, tail=1) == ["line 5"]
    assert life.since(99) == []
    assert len(life.since(-99)) == 6


def test_what_nobody_has_looked_at_yet_has_the_time_of_the_file(life: Life) -> None:
    life.write(0, "old")
    life.look(0.5)
    life.write(60, "new")
    assert life.spans()[1] == (0.0, 60.0)
    assert life.since(30) == ["new"]


def test_a_line_written_while_no_manager_looked_is_never_left_out(life: Life) -> None:
    life.write(0, "first")
    life.look(0.5)
    life.write(100, "alone")
    life.write(200, "also alone")
    life.restart()
    life.look(300)
    assert life.spans()[1:] == [(0.0, 200.0), (0.0, 200.0)]
    assert life.since(150) == ["alone", "also alone"]
    assert life.since(250) == []


def test_a_manager_that_was_frozen_knows_it(life: Life) -> None:
    life.look(0)
    life.write(1, "a")
    life.look(1)
    life.write(2, "b")
    life.write(50, "c")
    life.look(50)
    assert life.spans()[1:] == [(1.0, 50.0), (1.0, 50.0)]


def test_a_silent_log_is_exact_when_it_speaks_again(life: Life) -> None:
    life.write(0, "a")
    for second in range(100):
        life.look(float(second))
    life.write(99.5, "b")
    life.look(100)
    assert life.spans()[1] == (99.5 - EXACT_S, 99.5)


def test_what_an_instance_writes_is_not_older_than_its_start(life: Life) -> None:
    life.log.touch()
    life.noting.began(life.log)
    life.write(7, "hello")
    assert life.spans() == [(0.0, 7.0)]


def test_times_go_along_when_a_log_is_rotated(life: Life) -> None:
    for second in range(3):
        life.write(second, f"line {second}")
        life.look(second + 0.5)
    rotate(life.log, max_bytes=1)
    life.look(3)
    life.write(4, "line 4")
    life.look(4.5)
    assert [latest for _, latest in life.spans()] == [0.0, 1.0, 2.0, 4.0]
    assert life.since(2) == ["line 2", "line 4"]
    rotate(life.log, max_bytes=1)
    assert life.since(2) == ["line 2", "line 4"]


def test_times_of_another_content_are_not_believed(life: Life) -> None:
    life.write(0, "a line that is long")
    life.look(0.5)
    life.log.write_text("")
    life.write(50, "b")
    assert life.spans() == [(None, 50.0)]
    life.look(50.5)
    life.restart()
    life.look(51)
    assert life.since(49) == ["b"]


@pytest.mark.parametrize("damage", [b"", b"17000", b"\xff" * 54, b"0000000000000 000000000000 =\n" * 2 + b"1"])
def test_damaged_times_cost_exactness_only(life: Life, damage: bytes) -> None:
    life.log.with_name("app.log.times").write_bytes(damage)
    life.write(5, "a")
    life.restart()
    life.look(6)
    life.write(7, "b")
    life.look(7)
    assert life.since(5) == ["a", "b"]
    assert life.since(6) == ["b"]


def test_marks_do_not_grow_without_end(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_times, "MOST_BYTES", 1000)
    for second in range(200):
        life.write(second, f"line {second}")
        life.look(float(second))
    assert life.log.with_name("app.log.times").stat().st_size <= 1100
    assert life.since(199) == ["line 199"]
    assert set(life.since(100)) >= {f"line {n}" for n in range(100, 200)}


def test_a_log_that_cannot_be_marked_is_read_all_the_same(life: Life) -> None:
    life.log.with_name("app.log.times").mkdir()
    life.write(3, "a")
    life.look(3)
    assert life.since(2) == ["a"]
