"""Freeze windows: when they are open, also where clocks change, and what cannot be one."""

from __future__ import annotations

import time
from datetime import datetime

import pytest
from pydantic import ValidationError

from longshore.freezes import MOST_IN_A_ROW, Freeze, frozen

BERLIN = {"time_zone": "Europe/Berlin"}
WEEKEND = Freeze(cron="0 16 * * FRI", duration="64h", **BERLIN)
NIGHT = Freeze(cron="30 2 * * *", duration="10m", **BERLIN)
ALWAYS = Freeze(cron="* * * * *", duration="8784h")


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("freeze", "now", "until"),
    [
        # an ordinary weekend, from Friday 16:00 to Monday 08:00
        (WEEKEND, "2026-11-20T15:59:59+01:00", None),
        (WEEKEND, "2026-11-20T16:00:00+01:00", "2026-11-23T08:00:00+01:00"),
        (WEEKEND, "2026-11-22T12:00:00+01:00", "2026-11-23T08:00:00+01:00"),
        (WEEKEND, "2026-11-23T07:59:59.9+01:00", "2026-11-23T08:00:00+01:00"),
        (WEEKEND, "2026-11-23T08:00:00+01:00", None),
        # the clocks go forward in that weekend, and back: 64 hours are 64 hours
        (WEEKEND, "2026-03-29T12:00:00+02:00", "2026-03-30T09:00:00+02:00"),
        (WEEKEND, "2026-10-25T12:00:00+01:00", "2026-10-26T07:00:00+01:00"),
        # 02:30 is left out: it comes right after the gap, at 03:00
        (NIGHT, "2026-03-29T01:59:59+01:00", None),
        (NIGHT, "2026-03-29T03:00:00+02:00", "2026-03-29T03:10:00+02:00"),
        (NIGHT, "2026-03-29T03:10:00+02:00", None),
        # 02:30 comes twice: the first counts
        (NIGHT, "2026-10-25T02:29:59+02:00", None),
        (NIGHT, "2026-10-25T02:30:00+02:00", "2026-10-25T02:40:00+02:00"),
        (NIGHT, "2026-10-25T02:10:00+01:00", None),
        (NIGHT, "2026-10-25T02:35:00+01:00", None),
        # … and is not forgotten in the hour that comes a second time
        (Freeze(cron="30 2 * * *", duration="3h", **BERLIN), "2026-10-25T02:10:00+01:00", "2026-10-25T04:30:00+01:00"),
        (
            Freeze(cron="*/20 * * * *", duration="5m", **BERLIN),
            "2026-10-25T02:21:00+01:00",
            "2026-10-25T02:25:00+01:00",
        ),
        # half an hour is set back on Lord Howe Island
        (
            Freeze(cron="45 1 * * *", duration="2h", time_zone="Australia/Lord_Howe"),
            "2026-04-05T01:40:00+10:30",
            "2026-04-05T03:15:00+10:30",
        ),
        # one that began months ago
        (Freeze(cron="0 0 1 1 *", duration="8000h"), "2026-11-20T00:00:00+00:00", "2026-11-30T08:00:00+00:00"),
        (Freeze(cron="0 0 29 2 *", duration="24h"), "2024-02-29T12:00:00+00:00", "2024-03-01T00:00:00+00:00"),
        (Freeze(cron="0 0 29 2 *", duration="24h"), "2026-02-28T12:00:00+00:00", None),
        # of windows that overlap the last ends last
        (Freeze(cron="0 * * * *", duration="150m"), "2026-11-20T10:20:00+00:00", "2026-11-20T12:30:00+00:00"),
    ],
)
def test_a_window_is_open_from_its_beginning_for_its_duration(freeze: Freeze, now: str, until: str | None) -> None:
    assert freeze.until(at(now)) == (None if until is None else at(until))


def test_windows_that_follow_each_other_without_a_gap_end_with_the_last_of_them() -> None:
    friday = Freeze(cron="0 16 * * FRI", duration="8h", message="before the weekend")
    weekend = Freeze(cron="0 0 * * SAT,SUN", duration="24h")
    assert frozen((friday, weekend), at("2026-11-20T17:00:00+00:00")) == (friday, at("2026-11-23T00:00:00+00:00"))
    assert frozen((friday, weekend), at("2026-11-20T15:00:00+00:00")) is None
    assert frozen((), 0.0) is None


def test_a_window_that_never_closes_ends_at_least_later() -> None:
    found = frozen((ALWAYS,), at("2026-11-20T17:00:00+00:00"))
    assert found is not None
    assert found[1] > at("2030-01-01T00:00:00+00:00")


def test_looking_at_windows_of_a_year_each_minute_takes_no_time() -> None:
    rare = Freeze(cron="0 0 29 2 *", duration="24h")
    began = time.process_time()
    for _ in range(10):
        frozen((ALWAYS, rare), at("2026-11-20T17:00:00+00:00"))
    # A walk over all the minutes of a year took 10 s each; this takes some MOST_IN_A_ROW looks.
    assert time.process_time() - began < 10 * MOST_IN_A_ROW * 0.1


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"cron": "every friday"}, "is no cron expression"),
        ({"cron": "0 16 * * FUNDAY"}, "Bad day-of-week"),
        ({"cron": "0 16 * *"}, "is no cron expression"),
        ({"cron": "0 0 16 * * FRI"}, "is no cron expression"),
        ({"cron": "@daily"}, "is no cron expression"),
        ({"cron": ""}, "is no cron expression"),
        ({"cron": "0 0 30 2 *"}, "never comes"),
        ({"cron": "61 * * * *"}, "Bad minute"),
        ({"duration": "long"}, "is no duration"),
        ({"duration": "59s"}, "between a minute and a year"),
        ({"duration": "9000h"}, "between a minute and a year"),
        ({"time_zone": "Mars/Olympus"}, "is no time zone"),
        ({"time_zone": "Europe"}, "is no time zone"),
        ({"time_zone": "../../etc/passwd"}, "is no time zone"),
        ({"time_zone": ""}, "is no time zone"),
        ({"until": "monday"}, "Extra inputs"),
    ],
)
def test_what_cannot_be_a_window_is_refused_and_says_why(given: dict[str, str], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        Freeze(**{"cron": "0 16 * * FRI", "duration": "64h", **given})
