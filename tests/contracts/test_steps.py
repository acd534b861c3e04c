"""What every step of STEPS keeps: undoing what never ran is harmless, twice is once, and it survives its JSON."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from longshore.model import Pool, Routing
from longshore.rollout.control import Control
from longshore.rollout.plan import Context, Plan, Step, decode_plan, encode_plan
from longshore.rollout.steps import STEPS
from longshore.rollout.steps.artifact import FetchArtifact
from longshore.rollout.steps.backup import CreateBackup
from longshore.rollout.steps.canary import WatchCanary
from longshore.rollout.steps.copy_release import CopyRelease
from longshore.rollout.steps.dependencies import CheckDependencies
from longshore.rollout.steps.health import AwaitReady, HealthCheck
from longshore.rollout.steps.hooks import RunHooks
from longshore.rollout.steps.hosts import CheckHosts, PruneHosts, ShipRelease, SwitchHosts
from longshore.rollout.steps.instances import KeepWarm, RetireInstances, StartInstances, StopInstances
from longshore.rollout.steps.release import Commit, Prune, SwitchCurrent
from longshore.rollout.steps.traffic import DrainInstances, ShiftTraffic, VerifyTraffic
from support.makers import make_rollout, make_spec
from support.shop import Shop

OLD = ("shop-1-0", "shop-1-1")
NEW = ("shop-2-0", "shop-2-1")
HOSTS = ("a", "b")
#: steps that are about other hosts
FAR = ("check_hosts", "ship_release", "switch_hosts", "prune_hosts")


def routing_of(shop: Shop) -> Routing:
    deployment = shop.lab.store.deployment("shop")
    assert deployment is not None
    assert deployment.routing is not None
    return deployment.routing


def step_of(kind: str, shop: Shop) -> Step:
    """One of each kind, that fits a deployment on which 1.0 serves and a rollout to 2.0 has begun."""
    before = routing_of(shop)
    for host in shop.machine.hosts.values():  # a release to switch to, and what is to be shipped
        for place in host.places.values():
            place.contents["0.9"] = ""
    for releases in shop.machine.disk.releases.values():
        releases.update({"0.9": "sha", "2.0": "sha"} if kind in FAR else {})
    weights = Routing(before.port, before.stable, Pool("bbbbbbbb", "2.0", OLD[:1], "/health"), weight=50)
    artifact = str(shop.request("2.0").fields["artifact_path"])
    steps: dict[str, Step] = {
        "check_dependencies": CheckDependencies(()),
        "check_hosts": CheckHosts(HOSTS),
        "ship_release": ShipRelease("2.0", HOSTS, True),
        "switch_hosts": SwitchHosts("1.0", "0.9", HOSTS),
        "prune_hosts": PruneHosts(HOSTS),
        "fetch_artifact": FetchArtifact("2.0", artifact, "sha", "./run", True),
        "copy_release": CopyRelease("1.0+c1", "1.0"),
        "create_backup": CreateBackup("1.0", False),
        "run_hooks": RunHooks("pre_deploy", (), tolerant=False, name="pre_deploy_hooks"),
        "start_instances": StartInstances("1.0", ((NEW[0], 0), (NEW[1], 1))),
        "await_ready": AwaitReady(OLD),
        "shift_traffic": ShiftTraffic(before, weights),
        "verify_traffic": VerifyTraffic(before),
        "watch_canary": WatchCanary(50, 2.0, "aaaaaaaa", "bbbbbbbb", OLD),
        "drain": DrainInstances(OLD),
        "stop_instances": StopInstances(OLD),
        "switch_current": SwitchCurrent("1.0", "0.9"),
        "health_check": HealthCheck(OLD),
        "commit": Commit("1.0", "1.0", OLD),
        "keep_warm": KeepWarm(OLD, 60.0),
        "retire": RetireInstances(OLD),
        "prune": Prune(5),
    }
    return steps[kind]


@pytest_asyncio.fixture
async def shop(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Shop]:
    params = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    shop = Shop(tmp_path, HOSTS if params.get("kind") in FAR else ())
    await shop.deployed("1.0", strategy="rolling")
    yield shop
    await shop.close()


def context_of(shop: Shop) -> Context:
    store = shop.lab.store
    rollout = store.open_rollout_of("shop")
    if rollout is None:
        current = store.release("shop", "1.0")
        assert current is not None
        rollout = store.open_rollout(make_rollout("r2", "1.0", spec=current.spec))
    return Context(shop.lab.world, rollout, say=lambda _: None, advance=lambda: None, promoted=Control().promotion())


def snapshot(shop: Shop) -> dict[str, Any]:
    """Everything a step can have an effect on, but for launch ids and times."""
    store = shop.lab.store
    return {
        "deployment": [(d.name, d.current_version, d.routing, d.instances) for d in store.deployments()],
        "releases": [(r.version, r.state, r.sha256) for r in store.releases("shop")],
        "instances": sorted((i.id, i.version, i.port, i.state.value) for i in store.instances("shop")),
        "running": sorted(shop.driver_world.running_ids()),
        "applied": dict(shop.router.applied),
        "disk": (copy.deepcopy(shop.machine.disk.releases), dict(shop.machine.disk.links)),
        "hosts": {name: copy.deepcopy(host.places) for name, host in shop.machine.hosts.items()},
    }


def test_every_kind_is_registered_under_its_own_name() -> None:
    assert {kind: cls.kind for kind, cls in STEPS.items()} == {kind: kind for kind in STEPS}


@pytest.mark.parametrize("kind", STEPS)
async def test_undoing_what_never_ran_changes_nothing(kind: str, shop: Shop) -> None:
    step, context = step_of(kind, shop), context_of(shop)
    before = snapshot(shop)
    await step.undo(context)
    assert snapshot(shop) == before


@pytest.mark.parametrize("kind", STEPS)
async def test_running_it_twice_is_running_it_once(kind: str, shop: Shop) -> None:
    step, context = step_of(kind, shop), context_of(shop)
    await step.run(context)
    once = snapshot(shop)
    await step.run(context)
    assert snapshot(shop) == once


@pytest.mark.parametrize("kind", [kind for kind, cls in STEPS.items() if cls.undo is not Step.undo])
async def test_what_ran_is_undone_and_undoing_it_twice_is_undoing_it_once(kind: str, shop: Shop) -> None:
    step, context = step_of(kind, shop), context_of(shop)
    before = snapshot(shop)
    await step.run(context)
    await step.undo(context)
    assert snapshot(shop) == before
    await step.undo(context)
    assert snapshot(shop) == before


@pytest.mark.parametrize("kind", [kind for kind, cls in STEPS.items() if cls.undo is not Step.undo])
async def test_what_was_cancelled_in_the_middle_is_undone(kind: str, shop: Shop) -> None:
    step, context = step_of(kind, shop), context_of(shop)
    before = snapshot(shop)
    for turns in range(12):
        work = asyncio.ensure_future(step.run(context))
        for _ in range(turns):
            await asyncio.sleep(0)
        work.cancel()
        await asyncio.wait({work})
        await step.undo(context)
        assert snapshot(shop) == before, f"cancelled after {turns} turns"


@pytest.mark.parametrize("kind", STEPS)
async def test_it_survives_its_json_and_says_what_it_does(kind: str, shop: Shop) -> None:
    step = step_of(kind, shop)
    plan = Plan((step,) if kind == "commit" else (step, Commit("2.0", None, ())))
    assert decode_plan(encode_plan(plan), STEPS) == plan
    assert step.describe()
    bound = step.bound(make_spec())
    assert bound is None or bound > 0


async def test_a_step_that_says_it_can_be_undone_has_an_undo_of_its_own(shop: Shop) -> None:
    for kind in STEPS:
        step = step_of(kind, shop)
        assert not step.undoable or type(step).undo is not Step.undo, kind


async def test_a_copy_that_was_made_but_not_written_down_is_undone(shop: Shop) -> None:
    context = context_of(shop)
    directory = context.world.files_of(context.spec)
    directory.unpack_release(Path("/found"), "pre-longshore", "sha", (), context.world.artifact_limits, None)
    await CreateBackup("1.0", True).undo(context)
    assert directory.release("pre-longshore") is None


async def test_traffic_is_given_back_to_instances_that_run_even_where_one_died_meanwhile(shop: Shop) -> None:
    deployment = shop.lab.store.deployment("shop")
    assert deployment is not None
    assert deployment.routing is not None
    held = replace(deployment.routing, stable=Pool("12345678", "1.0", ()), hold=30.0)
    step = ShiftTraffic(deployment.routing, held)
    await step.run(context_of(shop))
    shop.driver_world.kill(deployment.instances[0])
    await step.undo(context_of(shop))
    assert shop.driver_world.running_ids() == set(deployment.instances)
    assert shop.serving() == "1.0"
