"""A change without a new artifact: a release of its own, of the same files, through the deployment's strategy."""

from __future__ import annotations

from typing import Any

import pytest

from longshore.errors import DeploymentInProgress, Issue, SpecInvalid
from longshore.masking import MASK
from longshore.model import ReleaseState, RolloutKind, RolloutStatus
from longshore.rollout import preparing
from longshore.rollout.request import Request
from longshore.rollout.strategies import STRATEGIES
from longshore.rollout.terms import Terms
from support.shop import Shop


def configuration(shop: Shop) -> Any:
    return shop.lab.service.status("shop").spec.configuration


def on_disk(shop: Shop) -> set[str]:
    (releases,) = shop.machine.disk.releases.values()
    return set(releases)


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_it_is_rolled_out_by_the_strategy_and_can_be_rolled_back(shop: Shop, strategy: str) -> None:
    await shop.deployed("1.0", strategy=strategy, configuration={"COLOUR": "blue"})
    rollout = await shop.change({"configuration": {"COLOUR": "green"}})
    assert (rollout.status, rollout.kind, rollout.strategy) == (RolloutStatus.succeeded, RolloutKind.change, strategy)
    assert (rollout.version, rollout.previous_version) == ("1.0+c1", "1.0")
    assert shop.steps(rollout)[1] == "copy_release"
    assert shop.lab.assert_settled(replicas=2) == "1.0+c1"
    assert configuration(shop) == {"COLOUR": "green"}
    assert (await shop.rollback()).version == "1.0"
    assert configuration(shop) == {"COLOUR": "blue"}
    assert shop.lab.assert_settled(replicas=2) == "1.0"


async def test_it_has_the_files_of_what_serves(shop: Shop) -> None:
    await shop.deployed("1.0", "2.0")
    await shop.change({"replicas": 3})
    (releases,) = shop.machine.disk.releases.values()
    assert releases["2.0+c1"] == releases["2.0"]


async def test_a_change_of_a_change_counts_on_from_the_version_that_was_deployed(shop: Shop) -> None:
    await shop.deployed("1.0")
    versions = [(await shop.change({"replicas": count})).version for count in (3, 1, 2)]
    assert versions == ["1.0+c1", "1.0+c2", "1.0+c3"]
    assert shop.lab.assert_settled(replicas=2) == "1.0+c3"


async def test_a_version_that_is_taken_is_passed_over(shop: Shop) -> None:
    await shop.deployed("1.0+c1", "1.0")
    (releases,) = shop.machine.disk.releases.values()
    releases["1.0+c2"] = "left by somebody else"
    assert (await shop.change({"replicas": 3})).version == "1.0+c3"
    assert releases.pop("1.0+c2") == "left by somebody else"
    assert shop.lab.assert_settled(replicas=3) == "1.0+c3"


async def test_a_version_that_would_be_too_long_is_refused_and_changes_nothing(shop: Shop) -> None:
    long = "1" * 126
    await shop.deployed(long)
    revision = shop.deployment().revision
    with pytest.raises(SpecInvalid, match="129 characters long, and a version may have 128"):
        await shop.change({"replicas": 3})
    assert (shop.deployment().revision, on_disk(shop)) == (revision, {long})


async def test_a_version_that_just_fits_is_taken(shop: Shop) -> None:
    await shop.deployed("1" * 125)
    assert (await shop.change({"replicas": 3})).version == "1" * 125 + "+c1"


@pytest.mark.parametrize(
    ("patch", "dropped"),
    [({}, ()), ({"replicas": 2}, ()), ({"configuration": {"COLOUR": "blue"}}, ()), ({}, ("resources.memory",)),
     ({}, ("configuration.NEVER",)), ({"configuration": {"API_TOKEN": MASK}}, ())],
)  # fmt: skip
async def test_what_changes_nothing_is_refused(shop: Shop, patch: dict[str, Any], dropped: tuple[str, ...]) -> None:
    await shop.deployed("1.0", configuration={"COLOUR": "blue", "API_TOKEN": "hush-hush"})
    with pytest.raises(SpecInvalid, match="nothing would change"):
        await shop.change(patch, dropped)
    assert on_disk(shop) == {"1.0"}


async def test_what_never_served_cannot_be_changed(shop: Shop) -> None:
    shop.script("1.0", never_ready=True)
    await shop.deploy("1.0")
    with pytest.raises(SpecInvalid, match="never served"):
        await shop.change({"replicas": 3})


async def test_secrets_that_are_sent_back_as_they_are_shown_stay_what_they_are(shop: Shop) -> None:
    real = {"API_TOKEN": "hush-hush", "DATABASE": "postgres://app:hunter2@db/x", "COLOUR": "blue"}
    await shop.deployed("1.0", configuration=real)
    shown = {"API_TOKEN": MASK, "DATABASE": f"postgres://{MASK}@db/x", "COLOUR": "green"}
    await shop.change({"configuration": shown})
    assert configuration(shop) == {**real, "COLOUR": "green"}


@pytest.mark.parametrize("value", [MASK, f"postgres://{MASK}@db/other"])
async def test_a_mask_is_never_stored(shop: Shop, value: str) -> None:
    await shop.deployed("1.0", configuration={"DATABASE": "postgres://app:hunter2@db/x"})
    given = {"configuration": {"DATABASE": value, "PASSWORD": value}}
    with pytest.raises(SpecInvalid) as refused:
        await shop.change(given)
    assert {issue.field for issue in refused.value.issues} >= {"configuration.PASSWORD"}
    with pytest.raises(SpecInvalid, match="is the mask that is shown"):
        await shop.deploy("2.0", **given)


async def test_a_mistake_of_shape_and_one_of_meaning_are_told_together(shop: Shop) -> None:
    await shop.deployed("1.0")
    request = Request({"configuration": {"PORT": "1"}}, (Issue("replicas", "must be a whole number"),))
    with pytest.raises(SpecInvalid) as refused:
        await shop.lab.service.change("shop", request, terms=Terms("ana"))
    assert {issue.field for issue in refused.value.issues} == {"replicas", "configuration.PORT"}


async def test_one_that_fails_is_undone_and_its_version_is_free_again(shop: Shop) -> None:
    await shop.deployed("1.0", strategy="rolling")
    shop.script("1.0+c1", never_ready=True)
    failed = await shop.change({"replicas": 3})
    assert (failed.status, on_disk(shop)) == (RolloutStatus.unwound, {"1.0"})
    assert shop.lab.assert_settled(replicas=2) == "1.0"
    shop.script("1.0+c1")
    assert (await shop.change({"replicas": 3})).version == "1.0+c1"


async def test_one_that_fails_is_held_where_the_deployment_wants_that(shop: Shop) -> None:
    await shop.deployed("1.0", strategy="rolling", rollback_on_failure=False)
    shop.script("1.0+c1", never_ready=True)
    assert (await shop.change({"replicas": 3})).status is RolloutStatus.held
    await shop.rollback()
    assert (shop.lab.assert_settled(replicas=2), on_disk(shop)) == ("1.0", {"1.0"})


async def test_one_that_is_asked_for_while_something_else_changes_does_not_take_that_back(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.deployed("1.0")
    check = preparing.check

    async def slowly(*args: Any, **kwargs: Any) -> Any:
        await shop.do("scale", 4)
        return await check(*args, **kwargs)

    monkeypatch.setattr(preparing, "check", slowly)
    with pytest.raises(DeploymentInProgress, match="changed at the same moment"):
        await shop.change({"configuration": {"COLOUR": "blue"}})
    assert shop.lab.assert_settled(replicas=4) == "1.0"


async def test_a_change_starts_what_is_stopped(shop: Shop) -> None:
    await shop.deployed("1.0")
    await shop.do("stop")
    await shop.change({"configuration": {"COLOUR": "blue"}})
    assert not shop.deployment().stopped
    assert shop.lab.assert_settled(replicas=2) == "1.0+c1"


async def test_a_copy_that_is_gone_from_the_disk_fails_and_serves_on(shop: Shop) -> None:
    await shop.deployed("1.0", strategy="rolling")
    shop.lab.store.set_release_state("shop", "1.0", ReleaseState.fetching)
    rollout = await shop.change({"replicas": 3})
    assert rollout.failure is not None
    assert "no longer kept" in rollout.failure.message
    assert shop.serving() == "1.0"
