"""Stores of every schema there was: opened by this version, nothing is lost, and what was open comes to its end."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from longshore.model import RolloutStatus
from longshore.rollout.terms import Terms
from longshore.store import Store
from longshore.store.sqlite import migrations
from support.engine import Clock, Lab, machine
from support.manager import until
from support.old_store import STORES, records_of

DUMPS = sorted(STORES.glob("schema-*.sql"))


def made_of(dump: Path, database: Path) -> Path:
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript(dump.read_text())
    return database


def differences(before: Any, now: Any, where: str) -> list[str]:
    """What is not as it was; what later versions have added to a record does not count."""
    if isinstance(before, dict) and isinstance(now, dict):
        return [d for key in before for d in differences(before[key], now.get(key, "(missing)"), f"{where}.{key}")]
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        return [d for at, each in enumerate(before) for d in differences(each, now[at], f"{where}[{at}]")]
    return [] if before == now else [f"{where}: {before!r} is now {now!r}"]


def test_there_is_a_store_of_each_schema() -> None:
    numbers = [int(re.sub(r"\D", "", dump.stem)) for dump in DUMPS]
    assert numbers == [number for number, _ in migrations()], "docs/checklists/new-migration.md says how to add one"


@pytest.mark.parametrize("dump", DUMPS, ids=lambda dump: dump.stem)
def test_a_store_of_an_older_version_is_migrated_and_everything_in_it_is_as_it_was(dump: Path, tmp_path: Path) -> None:
    store = Store(made_of(dump, tmp_path / "longshore.db"), Clock())
    assert store.db.all("PRAGMA user_version")[0][0] == migrations()[-1][0]
    assert store.db.all("PRAGMA foreign_key_check") == []
    before = json.loads(dump.with_suffix(".json").read_text())
    found = differences(before, records_of(store), "")
    store.close()
    assert not found, "\n".join(found[:20])


@pytest.mark.parametrize("dump", DUMPS, ids=lambda dump: dump.stem)
def test_a_migrated_store_has_the_schema_of_a_new_one(dump: Path, tmp_path: Path) -> None:
    old = Store(made_of(dump, tmp_path / "old.db"), Clock())
    new = Store(tmp_path / "new.db", Clock())
    for table in {row["name"] for row in new.db.all("SELECT name FROM sqlite_master WHERE type = 'table'")}:
        columns = [[tuple(row) for row in each.db.all(f"PRAGMA table_info({table})")] for each in (old, new)]
        assert columns[0] == columns[1], table
    indexes = [{row["name"] for row in each.db.all("SELECT name FROM sqlite_master")} for each in (old, new)]
    assert indexes[0] == indexes[1]
    old.close()
    new.close()


@pytest.fixture(params=DUMPS, ids=lambda dump: dump.stem)
async def lab(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Lab]:
    """A manager of this version on a store of an older one, whose releases are all there. Nothing runs any more."""
    site = machine(made_of(request.param, tmp_path / "longshore.db"))
    lab = Lab(site)
    for deployment in lab.store.deployments():
        place = Path(deployment.working_directory)
        kept = [release for release in lab.store.releases(deployment.name) if release.state != "pruned"]
        site.disk.releases[place] = {release.version: release.sha256 for release in kept}
        site.disk.links[place] = deployment.current_version
    yield lab
    await lab.runner.close()
    lab.close()


async def test_what_an_older_version_left_open_comes_to_its_end(lab: Lab) -> None:
    before = {rollout.deployment: rollout for rollout in lab.store.open_rollouts()}
    assert {rollout.status for rollout in before.values()} >= {RolloutStatus.running, RolloutStatus.paused}
    await lab.runner.recover()
    paused = [each for each in before.values() if each.status is RolloutStatus.paused]
    await until(lambda: len(lab.store.open_rollouts()) == len(paused), "all but those that are paused are over")
    for rollout in paused:
        assert lab.store.open_rollout_of(rollout.deployment) is not None, "it waits on"
        await lab.service.abort(rollout.deployment, rollout.id, terms=Terms("test"))
        await lab.service.outcome(rollout.id)
    assert lab.store.open_rollouts() == []
    for name, rollout in before.items():
        ended, deployment = lab.store.rollout(rollout.id), lab.store.deployment(name)
        assert ended is not None
        assert deployment is not None
        assert ended.status is RolloutStatus.unwound, ended.failure
        assert deployment.current_version == rollout.previous_version


async def test_what_an_older_version_was_deleting_is_deleted(lab: Lab) -> None:
    assert any(deployment.deleting for deployment in lab.store.deployments())
    await lab.runner.recover()
    await until(lambda: not any(each.deleting for each in lab.store.deployments()), "what was to be deleted is gone")


async def test_a_deployment_of_an_older_version_is_deployed_and_rolled_back(lab: Lab, tmp_path: Path) -> None:
    await lab.runner.recover()
    await asyncio.sleep(0)
    (tmp_path / "run").write_text("new")
    (tmp_path / "run").chmod(0o755)
    rollout = await lab.deploy(tmp_path / "run", "9.0", name="held", health_check_url="")
    assert rollout is not None
    assert rollout.status is RolloutStatus.succeeded, rollout.failure
    back = await lab.service.outcome((await lab.service.rollback("held", None, terms=Terms("test"))).id)
    assert (back.status, back.version) == (RolloutStatus.succeeded, "1.0")
