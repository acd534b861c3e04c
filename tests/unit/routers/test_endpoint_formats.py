"""What is written for a balancer: pure, and taken by the balancer itself where it is installed."""

from __future__ import annotations

import json
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import get_args

import pytest

from longshore.routers.base import Target, TargetPool, Traffic
from longshore.routers.endpoints import FORMATS
from longshore.routers.endpoints.base import MARK, exact, shares, within
from longshore.settings import Endpoints
from support.balancers import haproxy_config, needs_haproxy, needs_nginx, nginx_config

OLD = (Target("127.0.0.1", 20001, "shop-1-0"), Target("127.0.0.1", 20002, "shop-1-1"))
NEW = (Target("10.0.0.5", 20001, "shop-2-0"),)


def stable(*targets: Target, path: str | None = "/up") -> TargetPool:
    return TargetPool("aaaaaaa1", targets, path, "1.4.2")


def candidate(*targets: Target, path: str | None = "/up") -> TargetPool:
    return TargetPool("bbbbbbb2", targets, path, "2.0")


CASES = {
    "one pool": Traffic(8080, stable(*OLD)),
    "two pools": Traffic(8080, stable(*OLD), candidate(*NEW), weight=5),
    "all to the candidate": Traffic(8080, stable(*OLD), candidate(*NEW), weight=100),
    "a warm candidate": Traffic(8080, stable(*OLD), candidate(*NEW), weight=0),
    "an empty stable pool": Traffic(8080, stable(), candidate(*NEW), weight=5),
    "IPv6": Traffic(8080, stable(Target("2001:db8::5", 20001, "shop-1-0"))),
    "a path with quotes": Traffic(8080, stable(*OLD, path="/up?a='b\\c\"#$HOME")),
    "two paths": Traffic(8080, stable(*OLD), candidate(*NEW, path="/other"), weight=50),
    "TCP": Traffic(8080, stable(*OLD, path=None)),
    "targets without names": Traffic(8080, stable(Target("127.0.0.1", 1), Target("2001:db8::5", 2))),
    "a hold": Traffic(8080, stable(), hold=30.0),
    "no instances": Traffic(8080, stable()),
    "no pools": Traffic(8080, None),
    "removed": None,
}
traffics = pytest.mark.parametrize("traffic", CASES.values(), ids=CASES.keys())


def servers(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip().startswith("server ")]


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("one pool", {20001: Fraction(1, 2), 20002: Fraction(1, 2)}),
        ("all to the candidate", {20001: Fraction(1)}),
        ("a warm candidate", {20001: Fraction(1, 2), 20002: Fraction(1, 2)}),
        ("an empty stable pool", {20001: Fraction(1)}),
        ("a hold", {}),
        ("no instances", {}),
        ("removed", {}),
    ],
)
def test_the_targets_that_serve_share_all_requests(case: str, expected: dict[int, Fraction]) -> None:
    assert {each.target.port: each.share for each in shares(CASES[case])} == expected


@pytest.mark.parametrize(
    ("given", "numbers"),
    [
        ([], []),
        ([Fraction(1)], [1]),
        ([Fraction(1, 3)] * 3, [1, 1, 1]),
        ([Fraction(95, 200), Fraction(95, 200), Fraction(5, 100)], [19, 19, 2]),
        ([Fraction(95, 100), *[Fraction(1, 200)] * 10], [190, *[1] * 10]),
    ],
)
def test_weights_are_the_smallest_whole_numbers_in_those_proportions(given: list[Fraction], numbers: list[int]) -> None:
    assert exact(given) == numbers


@pytest.mark.parametrize(("old", "new"), [(1, 1), (3, 1), (4, 4), (7, 3)])
def test_weights_within_a_bound_are_as_near_as_it_allows(old: int, new: int) -> None:
    for weight in range(1, 100):
        given = [*[Fraction(100 - weight, 100 * old)] * old, *[Fraction(weight, 100 * new)] * new]
        numbers = within(given, 256)
        assert all(1 <= number <= 256 for number in numbers)
        assert sum(numbers[old:]) / sum(numbers) == pytest.approx(weight / 100, abs=0.01)


def test_what_a_bound_cannot_say_gets_the_least_it_can() -> None:
    assert within([Fraction(999, 1000), Fraction(1, 1000)], 256) == [256, 1]


def test_haproxy_gets_a_backend_with_weights_and_checks() -> None:
    text = FORMATS["haproxy"]("shop", CASES["two pools"])
    assert "\nbackend shop\n" in text
    assert "    http-check send meth GET uri '/up' ver HTTP/1.1 hdr Host localhost\n" in text
    assert servers(text) == [
        "server shop-1-0 127.0.0.1:20001 weight 19 check inter 1s  # 1.4.2",
        "server shop-1-1 127.0.0.1:20002 weight 19 check inter 1s  # 1.4.2",
        "server shop-2-0 10.0.0.5:20001 weight 2 check inter 1s  # 2.0",
    ]


def test_versions_that_are_asked_on_different_paths_are_checked_by_connecting() -> None:
    assert "http-check" not in FORMATS["haproxy"]("shop", CASES["two paths"])


def test_nginx_gets_an_upstream_with_weights() -> None:
    text = FORMATS["nginx"]("shop", CASES["two pools"])
    assert "\nupstream shop {\n" in text
    assert servers(text) == [
        "server 127.0.0.1:20001 weight=19;  # shop-1-0 1.4.2",
        "server 127.0.0.1:20002 weight=19;  # shop-1-1 1.4.2",
        "server 10.0.0.5:20001 weight=2;  # shop-2-0 2.0",
    ]


def test_nginx_gets_a_server_that_is_down_where_nothing_serves() -> None:
    assert servers(FORMATS["nginx"]("shop", None)) == ["server 127.0.0.1:9 down;  # nothing serves"]


def test_json_has_all_pools_also_those_without_a_share() -> None:
    body = json.loads(FORMATS["json"]("shop", CASES["a warm candidate"]))
    assert (body["deployment"], body["port"], body["serves"]) == ("shop", 8080, True)
    assert [(p["pool"], p["version"], p["weight"], len(p["targets"])) for p in body["pools"]] == [
        ("stable", "1.4.2", 100, 2),
        ("candidate", "2.0", 0, 1),
    ]
    assert body["pools"][1]["targets"] == [{"instance": "shop-2-0", "address": "10.0.0.5", "port": 20001}]


def test_json_says_that_nothing_serves_during_a_hold() -> None:
    assert json.loads(FORMATS["json"]("shop", CASES["a hold"]))["serves"] is False


@pytest.mark.parametrize("format", FORMATS)
@traffics
def test_every_file_says_whose_it_is_and_is_the_same_for_the_same(format: str, traffic: Traffic | None) -> None:
    text = FORMATS[format]("shop", traffic)
    assert MARK in text[:300]
    assert text.endswith("\n")
    assert FORMATS[format]("shop", traffic) == text


def test_every_format_can_be_configured() -> None:
    assert set(get_args(Endpoints.model_fields["format"].annotation)) == set(FORMATS)


@needs_haproxy
@traffics
def test_haproxy_takes_every_file_without_a_warning(traffic: Traffic | None, tmp_path: Path) -> None:
    rendered = tmp_path / "shop.cfg"
    rendered.write_text(FORMATS["haproxy"]("shop", traffic))
    found = subprocess.run(
        ["haproxy", "-c", "-f", haproxy_config(tmp_path, 18080), "-f", rendered], capture_output=True, text=True
    )
    assert (found.returncode, "WARNING" in found.stderr, "ALERT" in found.stderr) == (0, False, False), found.stderr


@needs_nginx
@traffics
def test_nginx_takes_every_file(traffic: Traffic | None, tmp_path: Path) -> None:
    (tmp_path / "shop.conf").write_text(FORMATS["nginx"]("shop", traffic))
    found = subprocess.run(["nginx", "-t", "-c", nginx_config(tmp_path, 18081)], capture_output=True, text=True)
    assert (found.returncode, "[warn]" in found.stderr) == (0, False), found.stderr
