"""Everything a deploy would refuse, and what would surprise: each by its field, all at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from longshore.drivers.base import Fingerprint
from longshore.errors import ArtifactNotFound, DependencyUnknown, Issue, SpecInvalid
from longshore.model import CanaryCheck
from longshore.rollout.request import Request
from longshore.rollout.terms import Terms
from longshore.routers.none import NoneRouter
from longshore.settings import Environment, Settings
from support.engine import PORT, Ports
from support.makers import make_deployment, make_release, make_spec
from support.shop import Shop

Arrange = Callable[[Shop], dict[str, Any]]


def other(shop: Shop, name: str = "api", **fields: Any) -> None:
    """Another deployment, on which 1.0 is committed."""
    shop.lab.store.save_deployment(make_deployment(name, current_version="1.0", **fields))
    dependencies = ("shop",) if name == "circle" else ()
    spec = make_spec("1.0", dependencies=dependencies)
    shop.lab.store.save_release(make_release(deployment=name, spec=replace(spec, name=name)))


def other_content(shop: Shop) -> dict[str, Any]:
    (shop.root / "artifacts" / "1.0" / "run").write_text("changed")
    return {"version": "1.0", "artifact_path": str(shop.root / "artifacts" / "1.0")}


def in_directory_of_another(shop: Shop) -> dict[str, Any]:
    other(shop)
    return {"name": "new", "working_directory": "/data/apps/api/inside", "health_check_url": None}


def on_port_of_another(shop: Shop) -> dict[str, Any]:
    other(shop, public_port=7777)
    return {"port": 7777, "health_check_url": None}


def circle(shop: Shop) -> dict[str, Any]:
    other(shop, "circle")
    return {"dependencies": ("circle",)}


def without_weights(shop: Shop) -> dict[str, Any]:
    shop.router.capabilities = lambda: frozenset({"hold"})  # type: ignore[method-assign]
    return {"strategy": "rolling"}


def own_balancer(strategy: str, **fields: Any) -> Arrange:
    """The environment's router can do what `none` can."""

    def arrange(shop: Shop) -> dict[str, Any]:
        shop.router.capabilities = NoneRouter().capabilities  # type: ignore[method-assign]
        return {"strategy": strategy, **fields}

    return arrange


REFUSED: dict[str, tuple[Arrange, str, str]] = {
    "relative artifact": (lambda _: {"artifact_path": "a.tar"}, "artifact_path", "must be an absolute path"),
    "wrong sha": (lambda _: {"artifact_sha256": "0" * 64}, "artifact_sha256", "is not the file you mean"),
    "reserved version": (lambda _: {"version": "pre-longshore"}, "version", "is reserved"),
    "other content": (other_content, "version", "versions are immutable"),
    "environment": (lambda _: {"environment": "live"}, "environment", "stays there"),
    "working directory": (lambda _: {"working_directory": "/elsewhere"}, "working_directory", "stays there"),
    "in another's directory": (in_directory_of_another, "working_directory", "give each deployment one of its own"),
    "another's port": (on_port_of_another, "port", "is the public port of api"),
    "two ports": (lambda _: {"port": 9000}, "port", f"health_check_url says {PORT}"),
    "cycle": (circle, "dependencies", "is a cycle: shop → circle → shop"),
    "surge": (lambda _: {"rolling": {"max_surge": "many"}}, "rolling.max_surge", "must be a count"),
    "router": (without_weights, "strategy", "needs weights, which the router of 'default' (mock) cannot do"),
    "canary without figures": (own_balancer("canary"), "strategy", "cannot do: give it checks of your own"),
    "sticky": (own_balancer("rolling", canary={"sticky": True}), "canary.sticky", "cannot keep clients on a version"),
    "shared path": (lambda _: {"shared_paths": ("../up",)}, "shared_paths", "up"),
    "own variable": (lambda _: {"configuration": {"PORT": "1"}}, "configuration.PORT", "set by Longshore"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_a_deploy_would_refuse_is_told_by_its_field(shop: Shop, case: str) -> None:
    arrange, field, message = REFUSED[case]
    await shop.deployed("1.0")
    given = {**shop.request("2.0").fields, **arrange(shop)}
    request = Request({key: value for key, value in given.items() if value is not None})
    found = await shop.lab.service.validate(request)
    assert not found.valid
    assert [i.field for i in found.issues] == [field], found.issues
    assert message in found.issues[0].message
    with pytest.raises(SpecInvalid) as refused:
        await shop.lab.service.deploy(request, terms=Terms("ana"))
    assert refused.value.issues == found.issues


async def test_a_missing_artifact_and_an_unknown_dependency_have_codes_of_their_own(shop: Shop) -> None:
    with pytest.raises(ArtifactNotFound):
        await shop.deploy("1.0", artifact_path="/nowhere/1.0")
    with pytest.raises(DependencyUnknown, match="there is no deployment 'db'"):
        await shop.deploy("1.0", dependencies=("db",))
    with pytest.raises(SpecInvalid) as both:
        await shop.deploy("1.0", dependencies=("db",), configuration={"PORT": "1"})
    assert both.value.code == "INVALID_DEPLOYMENT_SPEC"
    assert {i.field for i in both.value.issues} == {"dependencies", "configuration.PORT"}


async def test_a_port_that_another_program_has_is_refused(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ports, "is_free", lambda *_: False)
    found = await shop.lab.service.validate(shop.request("1.0"))
    assert [(i.field, "in use by another program" in i.message) for i in found.issues] == [("health_check_url", True)]


async def test_the_port_that_a_deployment_serves_on_is_its_own(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    await shop.deployed("1.0")
    monkeypatch.setattr(Ports, "is_free", lambda *_: False)
    assert (await shop.lab.service.validate(shop.request("2.0"))).valid


async def test_an_artifact_that_holds_its_own_working_directory_is_refused(shop: Shop) -> None:
    request = shop.request("1.0")
    artifact = Path(request.fields["artifact_path"])
    request = Request({**request.fields, "working_directory": str(artifact / "here")})
    found = await shop.lab.service.validate(request)
    assert "artifact_path" in {issue.field for issue in found.issues}


async def test_problems_of_shape_are_told_with_all_others(shop: Shop) -> None:
    request = shop.request("1.0", configuration={"HOST": "x"})
    request = Request(request.fields, (Issue("replicas", "must be a number"),))
    found = await shop.lab.service.validate(request)
    assert [i.field for i in found.issues] == ["replicas", "configuration.HOST"]


WARNED: dict[str, tuple[dict[str, Any], str, str]] = {
    "no health check": ({"health_check_url": None}, "health_check_url", "staying up is all that is asked"),
    "port, no health check": ({"health_check_url": None, "port": PORT}, "health_check_url", "a TCP connect"),
    "canary without a port": ({"health_check_url": None, "strategy": "canary"}, "strategy", "without a port"),
    "rolling with one": ({"strategy": "rolling", "replicas": 1}, "replicas", "is replaced in one step"),
    "missing program": ({"command": "./missing"}, "command", "'./missing' is neither in the artifact"),
    "nothing runs": ({"command": ""}, "command", "nothing runs"),
}


@pytest.mark.parametrize("case", WARNED)
async def test_what_would_surprise_is_a_warning_and_no_refusal(shop: Shop, case: str) -> None:
    given, field, message = WARNED[case]
    found = await shop.lab.service.validate(shop.request("1.0", **given))
    assert found.valid, found.issues
    assert [w for w in found.warnings if w.field == field and message in w.message], found.warnings
    assert {w.severity for w in found.warnings} == {"warning"}


async def test_a_canary_with_checks_of_its_own_needs_no_figures(shop: Shop) -> None:
    check = CanaryCheck("errors", http="http://localhost/")
    arrange = own_balancer("canary", canary={"analysis": {"checks": (check,)}})
    assert (await shop.lab.service.validate(shop.request("1.0", **arrange(shop)))).valid


async def test_requests_that_nobody_can_hold_are_a_warning(shop: Shop) -> None:
    found = await shop.lab.service.validate(shop.request("1.0", **own_balancer("recreate")(shop)))
    assert found.valid
    assert [w.field for w in found.warnings if "cannot hold requests" in w.message] == ["strategy"]
    silent = await shop.lab.service.validate(
        shop.request("1.0", **own_balancer("recreate", recreate={"hold": 0.0})(shop))
    )
    assert not [w for w in silent.warnings if "hold" in w.message]


async def test_a_port_where_the_users_own_balancer_listens_may_be_in_use(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ports, "is_free", lambda *_: False)
    own = Environment(router="none")
    monkeypatch.setattr(Settings, "environment", lambda self, name: own)
    assert (await shop.lab.service.validate(shop.request("1.0"))).valid


async def test_endpoints_that_cannot_be_written_are_told_of_before_anything_starts(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Environment(router="none")
    monkeypatch.setattr(Settings, "environment", lambda self, name: own)
    shop.router.usable = Fingerprint(False, "there is no directory /etc/x for its files: make it")
    found = await shop.lab.service.validate(shop.request("1.0"))
    assert [(issue.field, "there is no directory /etc/x" in issue.message) for issue in found.issues] == [
        ("environment", True)
    ]


async def test_a_dependency_that_is_unhealthy_now_is_a_warning_and_fails_the_rollout(shop: Shop) -> None:
    other(shop, "db", instances=())
    request = shop.request("1.0", dependencies=("db",))
    shop.lab.world.board.mark("url:db", "db", ready=False, message="down")
    release = make_release(deployment="db", command=None, spec=make_spec("1.0", health_check_url="https://db.example/"))
    shop.lab.store.save_release(replace(release, spec=replace(release.spec, name="db")))
    found = await shop.lab.service.validate(request)
    assert found.valid
    assert [w.field for w in found.warnings] == ["dependencies"]
    rollout = await shop.deploy("1.0", dependencies=("db",))
    assert rollout.failure is not None
    assert (rollout.failure.code, rollout.failure.operation) == ("DEPENDENCY_FAILED", "check_dependencies")


async def test_validating_changes_nothing(shop: Shop) -> None:
    await shop.deployed("1.0")
    before = (shop.lab.store.changes, len(shop.router.history), dict(shop.machine.disk.releases))
    await shop.lab.service.validate(shop.request("2.0", strategy="rolling"))
    await shop.lab.service.plan(shop.request("2.0", strategy="rolling"))
    assert (shop.lab.store.changes, len(shop.router.history), dict(shop.machine.disk.releases)) == before


@pytest.mark.parametrize("strategy", ["recreate", "rolling", "blue-green", "canary"])
async def test_a_plan_that_is_shown_is_the_one_that_then_runs(shop: Shop, strategy: str) -> None:
    await shop.deployed("1.0", strategy=strategy)
    shown = await shop.lab.service.plan(shop.request("2.0", strategy=strategy))
    rollout = await shop.deploy("2.0", strategy=strategy)
    assert shop.steps(rollout) == [step.name for step in shown.steps]
