import time

from longshore.demo.ledger import OK, Ledger, percentile


def test_an_empty_ledger_has_no_figures() -> None:
    summary = Ledger().summary()
    assert (summary.sent, summary.failed, summary.p99_s) == (0, 0, 0.0)


def test_everything_but_ok_is_a_failure_counted_by_what_it_was() -> None:
    ledger = Ledger()
    for outcome in (OK, "refused", "status 503", "refused"):
        ledger.record("get", outcome, "", time.monotonic())
    summary = ledger.summary()
    assert (summary.sent, summary.failed) == (4, 3)
    assert summary.failures == {"refused": 2, "status 503": 1}


def test_a_version_is_credited_only_with_what_it_answered_well() -> None:
    ledger = Ledger()
    ledger.record("get", OK, "1", time.monotonic())
    ledger.record("get", "truncated", "1", time.monotonic())
    assert ledger.summary().versions == {"1": 1}


def test_a_summary_covers_the_rows_it_was_asked_for() -> None:
    ledger = Ledger()
    for version in ("1", "2", "2"):
        ledger.record("get", OK, version, time.monotonic())
    assert ledger.summary(1).versions == {"2": 2}
    assert ledger.summary(0, 1).versions == {"1": 1}


def test_latencies_leave_out_what_lasts_as_long_as_it_is_told_to() -> None:
    ledger = Ledger()
    ledger.record("get", OK, "1", time.monotonic())
    ledger.record("slow", OK, "1", time.monotonic() - 4)
    assert ledger.summary().max_s < 1


def test_since_finds_the_first_row_that_ended_after_a_moment() -> None:
    ledger = Ledger()
    ledger.record("get", OK, "1", time.monotonic())
    moment = time.monotonic()
    ledger.record("get", OK, "1", moment)
    assert ledger.since(moment) == 1


def test_the_last_answer_of_a_version_is_found() -> None:
    ledger = Ledger()
    ledger.record("get", OK, "1", time.monotonic())
    between = time.monotonic()
    ledger.record("get", OK, "2", between)
    last = ledger.last_answer("1")
    assert last is not None
    assert last <= between
    assert ledger.last_answer("3") is None


def test_the_first_answer_of_a_version_is_found_from_a_row_on() -> None:
    ledger = Ledger()
    ledger.record("slow", OK, "1", time.monotonic())
    ledger.record("get", "reset", "1", time.monotonic())
    ledger.record("get", OK, "1", time.monotonic())
    then = len(ledger)
    ledger.record("post", OK, "1", time.monotonic())
    first, later = ledger.first_answer("1"), ledger.first_answer("1", then)
    assert first is not None
    assert later is not None
    assert first < later == ledger.last_answer("1")
    assert ledger.first_answer("2") is None


def test_percentiles_are_by_nearest_rank() -> None:
    values = [float(n) for n in range(1, 201)]
    assert percentile(values, 99) == 198
    assert percentile(values, 50) == 100
    assert percentile([7.0], 99) == 7


def test_latencies_are_told_by_kind_and_a_failure_has_none() -> None:
    ledger = Ledger()
    for kind, outcome, seconds in (("get", OK, 1), ("slow", OK, 4), ("get", "refused", 3), ("get", OK, 2)):
        ledger.record(kind, outcome, "1", time.monotonic() - seconds)
    assert {kind: [round(each) for each in took] for kind, took in ledger.latencies().items()} == {
        "get": [1, 2], "slow": [4]
    }  # fmt: skip
