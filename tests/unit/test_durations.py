import contextlib
import math
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longshore.durations import format_duration, parse_duration

# What Go 1.22 prints for time.Duration values (time package documentation and time_test.go's cases).
GO_PRINTS = [
    (0, "0s"),
    (1e-9, "1ns"),
    (1.1e-6, "1.1µs"),
    (2.2e-3, "2.2ms"),
    (0.1, "100ms"),
    (3.3, "3.3s"),
    (1.5, "1.5s"),
    (60, "1m0s"),
    (245, "4m5s"),
    (245.001, "4m5.001s"),
    (300, "5m0s"),
    (3600, "1h0m0s"),
    (18367.001, "5h6m7.001s"),
    (3723.5, "1h2m3.5s"),
    (480.000000001, "8m0.000000001s"),
    (-1.5, "-1.5s"),
    (-0.1, "-100ms"),
    (0.9999999996, "1s"),
]


@pytest.mark.parametrize(("seconds", "text"), GO_PRINTS)
def test_a_duration_prints_as_go_prints_it(seconds, text):
    assert format_duration(seconds) == text


@pytest.mark.parametrize(("seconds", "text"), GO_PRINTS[:-1])
def test_what_go_prints_is_read_back(seconds, text):
    assert parse_duration(text) == pytest.approx(seconds, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("+5s", 5), (".5s", 0.5), ("5.s", 5), ("1h15m30.918s", 4530.918), ("10us", 1e-5), ("10μs", 1e-5),
     ("5s1m", 65), ("30", 30), ("-2.5", -2.5), (" 3s ", 3)],
)  # fmt: skip
def test_everything_go_reads_is_read(text, seconds):
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "bad", ["", "-", "s", ".", "3000000h", "1x", "1 s", "--1s", "1s-2s", "s5", "1,5s", "٣s", "٣", "5min", "nan", "inf"]
)
def test_what_is_no_duration_is_refused_saying_what_one_looks_like(bad):
    with pytest.raises(ValueError, match="duration"):
        parse_duration(bad)


@pytest.mark.parametrize("bad", [True, None, [], {}, math.nan, math.inf, 1e300, 10**400])
def test_values_of_another_kind_are_refused(bad):
    with pytest.raises(ValueError, match="duration"):
        parse_duration(bad)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e18])
def test_what_no_duration_can_hold_is_not_printed(bad):
    with pytest.raises(ValueError):
        format_duration(bad)


@given(st.integers(-(2**62), 2**62))
def test_every_duration_reads_back_as_it_was_printed(nanoseconds):
    seconds = nanoseconds / 1e9
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, rel=1e-12, abs=1e-9)


@given(st.floats(-1e9, 1e9))
def test_printing_what_was_read_changes_nothing(seconds):
    text = format_duration(seconds)
    assert format_duration(parse_duration(text)) == text or abs(seconds) > 1e6


@given(st.text(max_size=12))
def test_no_text_makes_the_reader_do_anything_but_answer_or_refuse(text):
    with contextlib.suppress(ValueError):
        assert math.isfinite(parse_duration(text))


def test_durations_import_nothing_of_the_server():
    code = "import sys, longshore.durations; print({'pydantic', 'fastapi', 'click'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"
