"""The sweep's own bookkeeping: which kill comes next, that it ends, that it goes on, and what it comes to."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from chaos.sweeping import table
from chaos.sweeping.acts import ACTS, OF_NO_STRATEGY, groups
from chaos.sweeping.cases import POINTS, TRIES, Case, Course, Group, Result
from chaos.sweeping.record import Fault, Record, code_of
from longshore.rollout.strategies import STRATEGIES

GOOD = Group("rolling", "good")
ABORT = Group("canary", "abort")


def result_of(case: Case, *, writes: int = 40, recovery: int | None = None, **fields: object) -> Result:
    """As if the act had `writes` writes, and each of them two that a recovery has to undo it with."""
    reached = case.write <= writes
    length = recovery if recovery is not None else (min(case.write, writes - case.write) + 3 if reached else 0)
    second = 0 < case.second <= length
    return replace(Result(case, reached, second, length), **fields)


def swept(course: Course, outcome: Callable[[Case], Result] = result_of, bound: int = 1000) -> list[Case]:
    """Every case of a course, carried out by `outcome`."""
    cases = []
    while (case := course.next_case()) is not None:
        cases.append(case)
        course.results.append(outcome(case))
        assert len(cases) < bound, "it goes on for ever"
    return cases


def test_every_strategy_is_swept_with_every_act_and_those_that_know_no_strategy_once() -> None:
    found = groups()
    assert len(found) == len(set(found))
    assert {group.strategy for group in found} == set(STRATEGIES)
    for act in ACTS:
        assert sum(group.act == act for group in found) == (1 if act in OF_NO_STRATEGY else len(STRATEGIES))


def test_every_write_of_an_act_is_killed_and_every_write_of_the_recoveries() -> None:
    course = Course(GOOD, writes=40)
    cases = swept(course)
    assert {case.write for case in cases} == set(range(1, 41))
    assert {r.case.second for r in course.results if r.second_reached} == set(range(1, 24))
    assert course.missing() == []
    assert course.recovery_writes() == (23, 23)
    assert [case.second for case in cases].count(0) == 1, "one recovery is left alone, to see how long it is"
    assert len(cases) < 60, "few kills are spent on what was hit already"


def test_all_points_are_used_in_turn_at_even_and_odd_writes() -> None:
    slots = Course(GOOD, writes=40).slots()
    for parity in (0, 1):
        assert {point for write, point in slots if write % 2 == parity} == set(POINTS)


def test_each_write_is_killed_at_every_point_where_that_is_asked_for() -> None:
    course = Course(GOOD, all_points=True, writes=10)
    assert {(c.write, c.point) for c in swept(course)} == {(n, point) for n in range(1, 11) for point in POINTS}


def test_a_write_that_is_not_reached_is_tried_again_and_then_given_up() -> None:
    course = Course(GOOD, writes=42)
    cases = swept(course)
    assert sum(case.write == 42 for case in cases) == TRIES
    assert course.unreached() == [41, 42]


def test_a_recovery_write_that_is_never_reached_is_given_up() -> None:
    course = Course(GOOD, writes=5)
    cases = swept(course, lambda case: Result(case, True, case.second not in (0, 3), 4))
    assert course.missing() == []
    assert 3 in {case.second for case in cases}


def test_a_sample_takes_each_so_many_th_write_and_no_more() -> None:
    assert [case.write for case in swept(Course(GOOD, every=10, writes=40))] == [1, 11, 21, 31]


def test_a_broken_promise_is_not_tried_again() -> None:
    course = Course(GOOD, writes=3)
    cases = swept(course, lambda case: Result(case, False, False, 0, violation="two versions"))
    assert [case.write for case in cases] == [1, 2, 3]


def test_aborts_come_at_every_moment_that_was_measured_and_their_unwinding_is_long_enough() -> None:
    moments = {at: at + 4 for at in range(1, 30, 2)}
    course = Course(ABORT, writes=33, aborts=moments)
    cases = swept(course, lambda case: result_of(case, writes=moments[case.abort_at]))
    assert {case.abort_at for case in cases} == set(moments)
    assert all(moments[case.abort_at] >= case.write for case in cases)
    assert {case.write for case in cases} == set(range(1, 34))


def test_an_abort_whose_write_was_not_reached_is_tried_again_with_the_longest_unwinding() -> None:
    course = Course(ABORT, writes=9, aborts={1: 5, 3: 9, 5: 7})
    first = course.next_case()
    assert first is not None
    course.results.append(Result(first, False, False, 0))
    second = course.next_case()
    assert second is not None
    assert (second.write, second.abort_at) == (first.write, 3)


def courses() -> list[Course]:
    return [Course(GOOD), Course(ABORT)]


def test_a_sweep_goes_on_where_it_stopped(tmp_path: Path) -> None:
    record = Record(tmp_path / "sweep.jsonl", "code", courses())
    good, abort = record.courses[GOOD], record.courses[ABORT]
    good.writes, abort.writes, abort.aborts = 40, 9, {1: 5, 3: 9}
    for course in (good, abort):
        record.add_whole(course)
        for _ in range(4):
            case = course.next_case()
            assert case is not None
            record.add(result_of(case, violation="slow" if course is abort else ""))
    record.add_fault(Fault(ABORT, "left over"))

    again = Record(tmp_path / "sweep.jsonl", "code", courses())
    assert again.found
    assert again.courses == record.courses
    assert again.violations == record.violations
    assert again.courses[GOOD].next_case() == good.next_case()


def test_a_line_that_was_cut_by_a_kill_is_dropped_and_its_case_done_again(tmp_path: Path) -> None:
    record = Record(tmp_path / "sweep.jsonl", "code", courses())
    record.courses[GOOD].writes = 5
    record.add_whole(record.courses[GOOD])
    case = record.courses[GOOD].next_case()
    assert case is not None
    record.add(result_of(case))
    record.path.write_text(record.path.read_text()[:-10])

    again = Record(record.path, "code", courses())
    assert again.courses[GOOD].next_case() == case
    again.add(result_of(case))
    assert [json.loads(line) for line in record.path.read_text().splitlines()]


@pytest.mark.parametrize(("code", "fresh"), [("other", False), ("code", True)])
def test_other_code_and_a_fresh_start_set_the_results_aside(code: str, fresh: bool, tmp_path: Path) -> None:
    record = Record(tmp_path / "sweep.jsonl", "code", courses())
    record.courses[GOOD].writes = 40
    record.add_whole(record.courses[GOOD])
    again = Record(record.path, code, courses(), fresh=fresh)
    assert not again.found
    assert not again.courses[GOOD].measured
    assert '"writes": 40' in (tmp_path / "sweep.before.jsonl").read_text()


def test_groups_that_are_not_asked_for_stay_in_the_file(tmp_path: Path) -> None:
    record = Record(tmp_path / "sweep.jsonl", "code", courses())
    record.courses[GOOD].writes = 40
    record.add_whole(record.courses[GOOD])
    assert Record(record.path, "code", [Course(ABORT)]).found
    assert Record(record.path, "code", courses()).courses[GOOD].writes == 40


def test_code_is_named_by_what_its_files_hold(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("1")
    before = code_of(tmp_path)
    (tmp_path / "notes.txt").write_text("2")
    assert code_of(tmp_path) == before
    (tmp_path / "a.py").write_text("2")
    assert code_of(tmp_path) != before


def told() -> list[Course]:
    good = Course(GOOD, writes=4)
    figures = [(0.6, 0.1, 0.9), (1.2, 0.4, 2.0), (0.7, 0.2, 0.8), (0.5, 0.3, 1.1)]
    for ready, settled, whole in figures:
        case = good.next_case()
        assert case is not None
        times = {"ready_s": ready, "settled_s": settled, "whole_s": whole, "requests": 300, "lost": int(ready > 1)}
        good.results.append(result_of(case, recovery=2, violation="1 request lost" if ready > 1 else "", **times))
    return [good, Course(ABORT)]


def test_the_table_has_a_row_for_each_group_that_was_begun_and_one_for_all() -> None:
    rows = table.rows(told(), [GOOD])
    figures = ("4", "4", "4 at 2 of 2", "1,200", "1", "1.20 s", "0.40 s", "0.20 s", "2.00 s", "2")
    assert rows == [("rolling", "good", *figures), ("all", "", *figures)]
    assert all(len(row) == len(table.HEADINGS) for row in rows)


def test_the_table_is_written_between_its_marks_and_nowhere_else() -> None:
    page = f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n"
    written = table.rewritten(page, table.markdown(told(), about="Somewhere."))
    assert written.startswith(f"before\n{table.BEGIN}\nSomewhere.\n\n| strategy |")
    assert written.endswith(f"|\n{table.END}\nafter\n")
    assert "old" not in written
    assert table.rewritten(written, "new") == f"before\n{table.BEGIN}\nnew\n{table.END}\nafter\n"
    with pytest.raises(ValueError, match="no <!-- sweep"):
        table.rewritten("no marks", "new")
