from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from longshore.routers.base import Target, TargetPool, Traffic
from longshore.routers.envoy.cluster import Cluster
from longshore.routers.envoy.resources import boot, cluster, listener, route_frame, shard_of
from longshore.routers.envoy.routes import shares, virtual_host

A = TargetPool("aaaaaaa1", (Target("127.0.0.1", 20001), Target("127.0.0.1", 20002)), "/health")
B = TargetPool("bbbbbbb2", (Target("127.0.0.1", 20003),), None)
EMPTY = TargetPool("ccccccc3", ())

TRAFFICS = {
    "stable": Traffic(8080, A),
    "warm": Traffic(8080, A, B, 0),
    "canary": Traffic(8080, A, B, 5),
    "sticky": Traffic(8080, A, B, 25, sticky=True),
    "shifted": Traffic(8080, A, B, 100),
    "held": Traffic(8080, EMPTY, hold=30.0),
    "refusing": Traffic(8080, EMPTY, hold=0),
    "nobody": Traffic(8080, None),
}


def generated() -> str:
    """Everything that can be written for any of the traffics, as one text."""
    socket = Path("/d/admin.sock")
    parts: list[Any] = [boot(Path("/d"), socket, 10000), listener(Path("/d"), "shop", "0.0.0.0", 8080, 7500)]
    parts += [virtual_host("shop", each) for each in TRAFFICS.values()]
    parts += [cluster(Cluster("shop", p.id, p.targets, p.health_path, "1")) for p in (A, B, EMPTY)]
    return json.dumps(parts, indent=1)


def routes(key: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = virtual_host("shop", TRAFFICS[key])["routes"]
    return found


def test_no_statistics_name_holds_a_dot() -> None:
    names = re.findall(r'"alt_stat_name": "([^"]*)"', generated())
    assert names
    assert not [name for name in names if "." in name]


def test_no_listener_shares_its_port_with_another_envoy() -> None:
    assert re.findall(r'"enable_reuse_port": (\w+)', generated()) == ["false"]


def test_no_route_cuts_a_request_short() -> None:
    per_route = [r["route"]["timeout"] for key in TRAFFICS for r in routes(key) if "route" in r]
    assert per_route
    assert set(per_route) == {"0s"}
    assert all(key != "timeout" or value == "0s" for key, value in re.findall(r'"(timeout)": "([^"]*)"', json.dumps(
        [virtual_host("shop", each) for each in TRAFFICS.values()]
    )))  # fmt: skip


def test_only_methods_that_may_be_repeated_are_tried_again_after_a_cut() -> None:
    for key in ("stable", "canary", "sticky", "shifted"):
        for route in routes(key):
            methods = [h["string_match"]["exact"] for h in route["match"].get("headers", []) if h["name"] == ":method"]
            repeated = route["route"]["retry_policy"]["retry_on"].endswith(",reset")
            assert repeated == (methods in (["GET"], ["HEAD"], ["OPTIONS"]))


def test_the_catch_all_is_last_and_careful() -> None:
    last = routes("sticky")[-1]
    assert last["match"] == {"prefix": "/"}
    assert "reset," not in last["route"]["retry_policy"]["retry_on"] + "end"


def test_the_canary_header_comes_first_and_only_with_a_candidate() -> None:
    assert routes("warm")[0]["match"]["headers"][0]["name"] == "x-canary"
    assert "x-canary" not in json.dumps(routes("stable"))


def test_pins_come_before_the_split_and_name_the_deployment() -> None:
    text = json.dumps(routes("sticky"))
    assert text.index("longshore_shop=aaaaaaa1") < text.index("weighted_clusters")
    assert "longshore_shop" not in json.dumps(routes("canary"))


def test_a_single_share_is_no_split() -> None:
    assert "weighted_clusters" not in json.dumps(routes("shifted"))
    assert routes("shifted")[-1]["route"]["cluster"] == "shop.bbbbbbb2"


def test_a_hold_waits_four_tries_a_second_on_any_host_and_keeps_bodies() -> None:
    host = virtual_host("shop", TRAFFICS["held"])
    (route,) = host["routes"]
    assert route["route"]["retry_policy"]["num_retries"] == 120
    assert "retry_host_predicate" not in route["route"]["retry_policy"]
    assert host["request_body_buffer_limit"] == "67108864"


@pytest.mark.parametrize("key", ["refusing", "nobody"])
def test_without_anybody_to_serve_the_answer_is_503_with_retry_after(key: str) -> None:
    (route,) = routes(key)
    assert route["direct_response"]["status"] == 503
    assert route["response_headers_to_add"][0]["header"] == {"key": "retry-after", "value": "1"}


@pytest.mark.parametrize(
    ("traffic", "expected"),
    [
        (Traffic(1, A, B, 30), {"aaaaaaa1": 70, "bbbbbbb2": 30}),
        (Traffic(1, A, EMPTY, 30), {"aaaaaaa1": 100}),
        (Traffic(1, EMPTY, B, 30), {"bbbbbbb2": 100}),
        (Traffic(1, None, B, 0), {}),
        (Traffic(1, A, B, 100), {"bbbbbbb2": 100}),
        (Traffic(1, A, B, 0), {"aaaaaaa1": 100}),
    ],
)
def test_a_pool_without_targets_gets_nothing(traffic: Traffic, expected: dict[str, int]) -> None:
    assert shares(traffic) == expected


def test_the_placeholder_is_not_checked() -> None:
    text = json.dumps(cluster(Cluster("shop", "ccccccc3", (), None, "1")))
    assert '"disable_active_health_check": true' in text
    assert '"port_value": 1}' in text


@pytest.mark.parametrize("standby", [(), (Target("127.0.0.1", 20009),)], ids=["alone", "with-standby"])
@pytest.mark.parametrize("pool", [A, B, EMPTY], ids=["http", "tcp", "holding"])
def test_a_cluster_is_read_back_as_it_was_written(pool: TargetPool, standby: tuple[Target, ...]) -> None:
    before = Cluster("my-shop", pool.id, pool.targets, pool.health_path, "17", standby)
    assert Cluster.read(json.loads(json.dumps(cluster(before)))) == before


def test_shards_are_those_of_crc32_so_that_an_upgrade_moves_nothing() -> None:
    assert [shard_of(name) for name in ("shop", "api", "web")] == [2, 15, 1]
    assert route_frame(7)["name"] == "r7"
