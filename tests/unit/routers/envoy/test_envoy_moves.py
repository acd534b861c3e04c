from __future__ import annotations

import itertools

import pytest

from longshore.routers.base import RouterError, Target, TargetPool, Traffic
from longshore.routers.envoy.cluster import Cluster
from longshore.routers.envoy.moves import check, plan_move
from longshore.routers.envoy.routes import shares

T1, T2, T3 = (Target("127.0.0.1", port) for port in (20001, 20002, 20003))
A, B, C = "aaaaaaa1", "bbbbbbb2", "ccccccc3"


def pool(id: str, *targets: Target) -> TargetPool:
    return TargetPool(id, targets, "/health")


def cluster(id: str, *targets: Target) -> Cluster:
    return Cluster("shop", id, targets, "/health", "1")


def there(*clusters: Cluster) -> dict[str, Cluster]:
    return {each.name: each for each in clusters}


def targets(clusters: object) -> dict[str, tuple[Target, ...]]:
    assert isinstance(clusters, dict)
    return {name.rpartition(".")[2]: each.targets for name, each in clusters.items()}


def test_what_is_added_stands_beside_what_is_there() -> None:
    move = plan_move("shop", Traffic(80, pool(A, T2)), there(cluster(A, T1)), (), "2")
    assert targets(move.union) == {A: (T1, T2)}
    assert targets(move.kept) == {A: (T2,)}
    assert move.added == {"shop.aaaaaaa1": {T2}}


def test_a_target_that_changes_pools_is_in_both_for_a_moment() -> None:
    before = there(cluster(A, T1, T2), cluster(B, T3))
    move = plan_move("shop", Traffic(80, pool(A, T1), pool(B, T2, T3), 66), before, (), "2")
    assert targets(move.union) == {A: (T1, T2), B: (T2, T3)}
    assert targets(move.kept) == {A: (T1,), B: (T2, T3)}


def test_a_hold_is_entered_only_after_the_routes_know_how_to_wait() -> None:
    move = plan_move("shop", Traffic(80, pool(A), hold=9), there(cluster(A, T1)), (), "2")
    assert targets(move.union) == {A: (T1,)}
    assert targets(move.kept) == {A: ()}


def test_the_placeholder_never_stands_beside_targets() -> None:
    move = plan_move("shop", Traffic(80, pool(A, T1)), there(cluster(A)), (), "2")
    assert targets(move.union) == {A: (T1,)}


def test_held_requests_are_given_the_targets_that_serve_before_the_routes_go_back() -> None:
    move = plan_move("shop", Traffic(80, pool(A, T1)), there(cluster(C)), (), "2")
    assert targets(move.union) == {A: (T1,), C: (T1,)}
    assert set(move.aliases) == {"shop.ccccccc3"}


def test_a_pool_that_leaves_is_not_given_new_targets_before_the_routes_shift() -> None:
    move = plan_move("shop", Traffic(80, pool(B, T2)), there(cluster(A, T1)), (), "2")
    assert targets(move.union) == {A: (T1,), B: (T2,)}
    assert targets(move.kept) == {A: (T2,), B: (T2,)}


def test_an_alias_that_is_wanted_again_brings_no_other_versions_targets() -> None:
    before = there(cluster(A, T2), cluster(B, T2))
    move = plan_move("shop", Traffic(80, pool(A, T1)), before, {"shop.aaaaaaa1"}, "2")
    assert targets(move.union)[A] == (T1,)


def test_held_requests_wait_on_through_another_hold() -> None:
    move = plan_move("shop", Traffic(80, pool(B), hold=9), there(cluster(A)), (), "2")
    assert targets(move.kept) == {A: (), B: ()}


def test_a_traffic_that_changes_nothing_marks_nothing_anew() -> None:
    before = there(cluster(A, T1, T2))
    move = plan_move("shop", Traffic(80, pool(A, T2, T1)), before, (), "2")
    assert move.union == before == move.kept


def test_a_changed_cluster_is_marked_since_its_histograms_begin_anew() -> None:
    move = plan_move("shop", Traffic(80, pool(A, T1, T2)), there(cluster(A, T1)), (), "2")
    assert move.kept["shop.aaaaaaa1"].since == "2"


def some_traffics() -> list[Traffic]:
    pools = [pool(A, T1), pool(A, T1, T2), pool(A), pool(B, T3), pool(B, T2, T3), pool(B)]
    found = [Traffic(80, each, hold=None if each.targets else 9) for each in pools]
    return found + [
        Traffic(80, s, c, weight)
        for s, c in itertools.permutations(pools, 2)
        if s.id != c.id
        for weight in (0, 30, 100)
    ]


def test_in_no_transition_does_a_routed_pool_lack_a_target() -> None:
    for first, second in itertools.product(some_traffics(), repeat=2):
        start = plan_move("shop", first, {}, (), "1").kept
        move = plan_move("shop", second, start, (), "2")
        for traffic, stages in ((first, (start, move.union)), (second, (move.union, move.kept))):
            named = {p.id: set(p.targets) for p in (traffic.stable, traffic.candidate) if p is not None}
            for id, clusters in itertools.product(shares(traffic), stages):
                assert named[id] <= set(clusters[f"shop.{id}"].targets), (first, second)


@pytest.mark.parametrize(
    ("traffic", "words"),
    [
        (Traffic(0, None), "port"),
        (Traffic(80, None, weight=101), "0-100"),
        (Traffic(80, TargetPool("stable", ())), "8 lower-case hex"),
        (Traffic(80, pool(A, T1), pool(A, T2)), "id of its own"),
        (Traffic(80, pool(A, Target("localhost", 80))), "IP address"),
        (Traffic(80, pool(A, Target("127.0.0.1", 0))), "port"),
    ],
)
def test_what_envoy_would_refuse_is_refused_with_words_that_help(traffic: Traffic, words: str) -> None:
    with pytest.raises(RouterError, match=words):
        check("shop", traffic)


def standby(clusters: object) -> dict[str, tuple[Target, ...]]:
    assert isinstance(clusters, dict)
    return {name.rpartition(".")[2]: each.standby for name, each in clusters.items()}


def test_two_pools_that_share_the_traffic_are_each_others_standby() -> None:
    move = plan_move("shop", Traffic(80, pool(A, T1, T3), pool(B, T2), 5), there(cluster(A, T1, T3)), (), "2")
    assert standby(move.union) == standby(move.kept) == {A: (T2,), B: (T1, T3)}


@pytest.mark.parametrize(
    "traffic",
    [
        Traffic(80, pool(A, T1), pool(B, T2), 0),
        Traffic(80, pool(A, T1)),
        Traffic(80, pool(A, T1), pool(B), 50),
        Traffic(80, pool(A), pool(B, T2), 50, hold=9),
        Traffic(80, pool(A), hold=9),
    ],
    ids=["only warm", "one pool", "an empty candidate", "a hold beside a candidate", "a hold"],
)
def test_nobody_stands_by_for_a_pool_that_has_no_share_or_that_holds(traffic: Traffic) -> None:
    assert set(standby(plan_move("shop", traffic, {}, (), "2").kept).values()) == {()}


def test_a_target_that_leaves_a_pool_stands_by_for_the_other_until_the_move_is_done() -> None:
    before = plan_move("shop", Traffic(80, pool(A, T1, T2), pool(B, T3), 50), {}, (), "1").kept
    move = plan_move("shop", Traffic(80, pool(A, T1), pool(B, T3), 50), before, (), "2")
    assert standby(move.union) == {A: (T3,), B: (T1, T2)}
    assert standby(move.kept) == {A: (T3,), B: (T1,)}


def test_a_target_that_changes_pools_is_never_its_own_standby() -> None:
    before = plan_move("shop", Traffic(80, pool(A, T1, T2), pool(B, T3), 50), {}, (), "1").kept
    move = plan_move("shop", Traffic(80, pool(A, T1), pool(B, T2, T3), 50), before, (), "2")
    for each in (*move.union.values(), *move.kept.values()):
        assert not set(each.targets) & set(each.standby), each


def test_what_lingers_without_traffic_has_no_standby() -> None:
    before = plan_move("shop", Traffic(80, pool(A, T1), pool(B, T2), 50), {}, (), "1").kept
    move = plan_move("shop", Traffic(80, pool(B, T2)), before, (), "2")
    assert (targets(move.kept), standby(move.kept)) == ({A: (T2,), B: (T2,)}, {A: (), B: ()})


def test_a_move_to_what_is_there_changes_nothing() -> None:
    shared = Traffic(80, pool(A, T1), pool(B, T2), 50)
    before = plan_move("shop", shared, {}, (), "1").kept
    assert plan_move("shop", shared, before, (), "2").kept == before


def test_every_cluster_that_is_new_is_marked() -> None:
    for held in (Traffic(80, TargetPool(A, ()), hold=9), Traffic(80, TargetPool(A, (T1,)))):
        assert plan_move("shop", held, {}, (), "7").kept["shop.aaaaaaa1"].since == "7"
