"""Where instances go, and which hosts are taken together."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from longshore.model import Rolling, Spec, Systemd
from longshore.rollout.plan import View
from longshore.rollout.scaling import scale
from longshore.rollout.steps.instances import RetireInstances, StartInstances, StopInstances
from longshore.rollout.steps.traffic import ShiftTraffic
from longshore.rollout.strategies import STRATEGIES
from longshore.rollout.strategies.placing import batches
from support.makers import make_instances, make_spec, make_view

HOSTS = ("a", "b", "c", "d")


@pytest.mark.parametrize(
    ("serial", "sizes"),
    [
        (None, [10]),
        (1, [1] * 10),
        (4, [4, 4, 2]),
        ("25%", [2, 2, 2, 2, 2]),
        ("100%", [10]),
        ("1%", [1] * 10),
        ((1, 5, "100%"), [1, 5, 4]),
        ((1, "30%"), [1, 3, 3, 3]),
    ],
)
def test_hosts_are_taken_as_serial_says(serial: Any, sizes: list[int]) -> None:
    hosts = tuple(f"host{n}" for n in range(10))
    found = batches(hosts, serial)
    assert [len(each) for each in found] == sizes
    assert tuple(host for each in found for host in each) == hosts


def view_of(spec: Spec, serving: int) -> View:
    """A deployment with so many instances, spread over the hosts, about to go to `spec`."""
    placed = tuple(replace(each, host=HOSTS[each.slot % len(HOSTS)]) for each in make_instances(serving))
    return make_view(spec, serving, serving=placed, hosts=HOSTS)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("replicas", [1, 3, 4, 9])
def test_instances_are_spread_so_that_no_host_has_two_more_than_another(strategy: str, replicas: int) -> None:
    spec = make_spec(replicas=replicas, strategy=strategy)
    plan = STRATEGIES[strategy].plan(view_of(spec, 4), spec)
    placed = Counter(host for step in plan if isinstance(step, StartInstances) for host in step.hosts)
    assert sum(placed.values()) == replicas
    assert max(placed.values()) - min(placed.get(host, 0) for host in HOSTS) <= 1


def scaled(on: str, replicas: int) -> Counter[str]:
    """Instances of each host after those that are on the hosts of these letters, by slot, were scaled."""
    serving = tuple(replace(each, host=host) for each, host in zip(make_instances(len(on)), on, strict=True))
    spec = make_spec(replicas=replicas)
    steps = scale(make_view(spec, len(on), serving=serving, hosts=HOSTS), spec)
    added = Counter(host for step in steps if isinstance(step, StartInstances) for host in step.hosts)
    gone = {id for step in steps if isinstance(step, RetireInstances) for id in step.instances}
    return added + Counter(each.host for each in serving if each.id not in gone)


@pytest.mark.parametrize("on", ["aa", "dc", "abcda", "abcd", ""])
@pytest.mark.parametrize("replicas", [6, 8, 11])
def test_more_instances_go_to_the_hosts_that_have_the_fewest(on: str, replicas: int) -> None:
    placed = scaled(on, replicas)
    assert sum(placed.values()) == replicas
    assert max(placed.values()) - min(placed[host] for host in HOSTS) <= 1


@pytest.mark.parametrize(("on", "replicas", "left"), [("aaabbb", 4, "aabb"), ("aaab", 3, "aab"), ("abcdab", 3, "abc")])
def test_those_that_are_too_many_leave_the_hosts_that_have_the_most(on: str, replicas: int, left: str) -> None:
    assert scaled(on, replicas) == Counter(left)


@pytest.mark.parametrize(("before", "after"), [(4, 4), (8, 4), (4, 8), (8, 2), (1, 9), (4, 1)])
@pytest.mark.parametrize("serial", [1, 3, (1, "50%")])
def test_a_rolling_rollout_finishes_one_run_of_hosts_before_it_begins_the_next(
    before: int, after: int, serial: Any
) -> None:
    spec = make_spec(replicas=after, strategy="rolling", rolling=Rolling(serial=serial, max_surge=2))
    view = view_of(spec, before)
    plan = STRATEGIES["rolling"].plan(view, spec)
    begun = list(dict.fromkeys(host for step in plan if isinstance(step, StartInstances) for host in step.hosts))
    assert begun == [host for host in HOSTS if host in begun]
    stopped = [id for step in plan if isinstance(step, StopInstances) for id in step.instances]
    assert sorted(stopped) == sorted(instance.id for instance in view.serving)


@pytest.mark.parametrize("serial", [None, 1, 2, "50%"])
def test_a_unit_of_the_users_own_is_stopped_on_a_host_before_it_is_started_there(serial: Any) -> None:
    spec = make_spec(
        replicas=4, strategy="rolling", rolling=Rolling(serial=serial), systemd=Systemd(unit="existing", port=3000)
    )
    view = view_of(spec, 4)
    where = {instance.id: instance.host for instance in view.serving}
    running = dict.fromkeys(HOSTS, 1)
    fewest = 4
    for step in STRATEGIES["rolling"].plan(view, spec):
        if isinstance(step, StopInstances):
            for id in step.instances:
                running[where[id]] -= 1
        if isinstance(step, StartInstances):
            for host in step.hosts:
                running[host] += 1
                assert running[host] == 1, f"two on {host}"
        fewest = min(fewest, sum(running.values()))
    assert running == dict.fromkeys(HOSTS, 1)
    assert fewest == 4 - {None: 1, 1: 1, 2: 2, "50%": 2}[serial]


def test_requests_go_to_every_host_that_is_up_while_units_are_restarted() -> None:
    existing = Systemd(unit="existing", port=3000)
    spec = make_spec(replicas=4, strategy="rolling", rolling=Rolling(serial=1), systemd=existing, port=8080)
    routings = [s.after for s in STRATEGIES["rolling"].plan(view_of(spec, 4), spec) if isinstance(s, ShiftTraffic)]
    taken = [sum(len(pool.instances) for pool in routing.pools) for routing in routings if routing is not None]
    assert min(taken) == 3
    assert taken[-1] == 4
