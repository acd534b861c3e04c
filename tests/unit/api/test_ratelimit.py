from __future__ import annotations

import pytest

from longshore.api.ratelimit import Limiter
from longshore.api.settings import RateLimits
from longshore.errors import RateLimited


class Watch:
    time = 1000.0

    def __call__(self) -> float:
        return self.time


def test_the_sixth_deploy_in_a_minute_is_refused_and_counts_again_when_the_first_is_a_minute_old() -> None:
    watch = Watch()
    limiter = Limiter(RateLimits(), watch)
    for _ in range(5):
        limiter.hit("deploy", "shop")
        watch.time += 1
    with pytest.raises(RateLimited) as refused:
        limiter.hit("deploy", "shop")
    assert refused.value.headers["Retry-After"] == "55"
    watch.time += 55
    limiter.hit("deploy", "shop")


def test_there_are_never_more_than_the_limit_in_any_minute() -> None:
    watch, admitted = Watch(), []
    limiter = Limiter(RateLimits(list=7), watch)
    for _ in range(500):
        watch.time += 1.7
        try:
            limiter.hit("list", "me")
        except RateLimited:
            continue
        admitted.append(watch.time)
    assert all(sum(start <= at < start + 60 for at in admitted) <= 7 for start in admitted)


def test_a_refused_request_does_not_count() -> None:
    watch = Watch()
    limiter = Limiter(RateLimits(deploy=1), watch)
    limiter.hit("deploy", "shop")
    for _ in range(10):
        with pytest.raises(RateLimited):
            limiter.hit("deploy", "shop")
    watch.time += 60
    assert limiter.hit("deploy", "shop") is not None


def test_keys_do_not_count_against_each_other() -> None:
    limiter = Limiter(RateLimits(deploy=1), Watch())
    limiter.hit("deploy", "a")
    assert limiter.hit("deploy", "b") is not None


def test_a_limit_of_0_is_off() -> None:
    limiter = Limiter(RateLimits(status=0))
    assert [limiter.hit("status", "me") for _ in range(1000)] == [None] * 1000


def test_what_is_left_is_said_in_headers() -> None:
    allowance = Limiter(RateLimits(), Watch()).hit("status", "me")
    assert allowance is not None
    assert allowance.headers() == [
        (b"ratelimit-policy", b'"status";q=100;w=60'),
        (b"ratelimit", b'"status";r=99;t=60'),
    ]


def test_the_keys_remembered_are_bounded() -> None:
    limiter = Limiter(RateLimits(), Watch(), most_keys=10)
    for number in range(100):
        limiter.hit("deploy", str(number))
    assert len(limiter._windows) == 10


def test_keys_that_are_over_are_forgotten() -> None:
    watch = Watch()
    limiter = Limiter(RateLimits(), watch)
    for number in range(100):
        limiter.hit("deploy", str(number))
    watch.time += 61
    limiter.hit("deploy", "last")
    assert len(limiter._windows) == 1
