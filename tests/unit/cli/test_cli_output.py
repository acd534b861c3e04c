from datetime import UTC, datetime, timedelta

import pytest

from longshore.cli.output import ago, seconds, size, table, when

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("passed", "text"),
    [(0, "now"), (0.4, "now"), (12, "12 s ago"), (59, "59 s ago"), (60, "1 min ago"), (3599, "59 min ago"),
     (3600, "1 h ago"), (86400 * 2.5, "2 d ago"), (-5, "now")],
)  # fmt: skip
def test_a_past_time_is_said_in_its_largest_full_unit(passed, text):
    assert ago(NOW - timedelta(seconds=passed), NOW) == text


@pytest.mark.parametrize(
    ("duration", "text"),
    [(None, "-"), (0, "0 ms"), (0.0123, "12 ms"), (1.25, "1.2 s"), (303, "5 min 3 s"), (7260, "2 h 1 min")],
)
def test_durations_are_said_for_people(duration, text):
    assert seconds(duration) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (2048, "2.0 KiB"), (3 * 1024**4, "3072.0 GiB")])
def test_sizes_are_said_for_people(count, text):
    assert size(count) == text


def test_off_a_terminal_times_are_absolute():
    assert when(NOW) == "2026-03-01T12:00:00Z"


def test_off_a_terminal_nothing_of_a_table_is_cut(capsys):
    table(["a", "b"], [["x" * 300, "y"], ["", "z"]])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "x" * 300 + "  y"
    assert lines[2].endswith("  z")
