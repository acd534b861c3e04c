"""A store as a busy manager leaves it, written down once for each schema, so that later versions can be tried on it.

    .venv/bin/python tests/support/old_store.py        writes tests/unit/store/stores/schema-NNNN.sql and .json

It is run before a migration is written, for the schema that is left (docs/checklists/new-migration.md); what it has
written is never written again. The .sql is the database, the .json all its records as that version reads them.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import sys
import tempfile
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

STORES = Path(__file__).parents[1] / "unit/store/stores"


def records_of(store: Any) -> dict[str, Any]:
    """Everything that is stored, as plain JSON: a name for each record → its fields."""
    found: dict[str, Any] = {}
    for deployment in store.deployments():
        name = deployment.name
        found[f"deployment {name}"] = asdict(deployment)
        for release in store.releases(name):
            found[f"release {name} {release.version}"] = asdict(release)
        for event in store.events(name, limit=1000):
            found[f"event {event.id}"] = asdict(event)
        for rollout in store.rollouts(name, limit=1000, offset=0)[0]:
            found[f"rollout {name} {rollout.number}"] = asdict(rollout)
            found[f"plan {name} {rollout.number}"] = {"text": store.plan_of(rollout.id)}
            for record in store.journal(rollout.id):
                undo = "undo " if record.undo else ""
                found[f"{undo}step {name} {rollout.number} {record.position}"] = asdict(record)
            for progress in store.progress(rollout.id):
                found[f"progress {name} {rollout.number} {progress.seq}"] = asdict(progress)
    for instance in store.instances():
        found[f"instance {instance.id}"] = asdict(instance)
    for row in store.db.all("SELECT id FROM waiting"):
        found[f"waiting {row['id']}"] = asdict(store.waiting(row["id"]))
    for token in store.tokens():
        found[f"token {token.name}"] = asdict(token)
    for lock in store.locks():
        found[f"lock {lock.scope} {lock.name}"] = asdict(lock)
    for delivery in store.deliveries("chat", state=None, limit=100, offset=0)[0]:
        found[f"delivery {delivery.id}"] = asdict(delivery)
    found["key"] = {"rollout": store.idempotency("token ana", "key-1")}
    return dict(json.loads(json.dumps(found, default=str)))


def dump(database: Path) -> str:
    """The database as SQL that makes it again, its schema's number included."""
    with closing(sqlite3.connect(database)) as connection:
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        return "\n".join([*connection.iterdump(), f"PRAGMA user_version = {version};", ""])


def watched(store: Any) -> bool:
    rollout = store.open_rollout_of("shop")
    return rollout is not None and any(step.name == "watch_canary_50" for step in store.journal(rollout.id))


async def lived(root: Path) -> tuple[Path, dict[str, Any]]:
    """A manager's life in memory: all kinds of rollouts that ended, and some that it was killed in the middle of."""
    from longshore.access.tokens import Tokens
    from longshore.drivers.mock import Script
    from longshore.model import CanaryStep, Delivery, DeliveryState, Lock, Role
    from longshore.rollout.request import Request
    from longshore.rollout.terms import Terms
    from support.engine import Lab, machine

    site = machine(root / "longshore.db")
    lab = Lab(site)

    def artifact(version: str) -> Path:
        place = root / version
        if not place.exists():
            place.mkdir()
            (place / "run").write_text(version)
            (place / "run").chmod(0o755)
        return place

    async def deploy(name: str, version: str, strategy: str, **fields: Any) -> None:
        plain = {} if name == "shop" else {"health_check_url": ""}
        given = {"name": name, "strategy": strategy, "configuration": {"COLOUR": "blue"}, **plain, **fields}
        ended = await lab.deploy(artifact(version), version, **given)
        expected = ("unwound", "held") if version in ("2.1", "2.2") else ("succeeded",)
        assert ended is None or ended.status in expected, (name, version, ended.status, ended.failure)

    await deploy("shop", "1.0", "recreate", replicas=2)
    await deploy("shop", "2.0", "rolling", replicas=2)
    site.world.scripts["2.1"] = Script(never_ready=True)
    await deploy("shop", "2.1", "blue-green", replicas=2)
    await lab.service.outcome((await lab.service.rollback("shop", None, terms=Terms("ana"))).id)
    await deploy("warm", "1.0", "recreate")
    await deploy("warm", "2.0", "blue-green", blue_green={"keep_old": 3600.0})
    await deploy("held", "1.0", "recreate")
    site.world.scripts["2.2"] = Script(start_error="no such program")
    await deploy("held", "2.2", "rolling", rollback_on_failure=False)
    await deploy("files", "1.0", "recreate", command="", dependencies=("shop",))
    await deploy("stopped", "1.0", "recreate")
    lab.service.pin("stopped", "1.0", "as it came", terms=Terms("ana"))
    change = Request({"configuration": {"COLOUR": "green"}})
    await lab.service.outcome((await lab.service.change("stopped", change, terms=Terms("ana"))).id)
    await lab.service.outcome((await lab.service.stop("stopped", terms=Terms("ana"))).id)
    await deploy("going", "1.0", "recreate")
    await deploy("starting", "1.0", "recreate", replicas=2)

    # What was under way when it was killed.
    site.world.scripts["3.0"] = Script(start_block="before")
    opened = [asyncio.ensure_future(deploy("starting", "3.0", "rolling", replicas=2))]
    steps = (CanaryStep(50, "manual"), CanaryStep(100, 0.0))
    opened.append(asyncio.ensure_future(deploy("shop", "2.0", "canary", replicas=2, canary={"steps": steps})))
    while True:
        if site.world.blocked("3.0") and watched(lab.store):
            break
        await asyncio.sleep(0.001)
    await deploy("paused", "1.0", "recreate")
    request = {"name": "paused", "version": "2.0", "artifact_path": str(artifact("2.0")), "command": "./run"}
    paused = await lab.service.deploy(Request(request), terms=Terms("ana"))
    while lab.store.open_rollouts()[-1].status != "paused":
        await lab.service.pause("paused", paused.id, terms=Terms("ana"))
        await asyncio.sleep(0.001)
    behind = Terms("ben", on_conflict="queue")
    request = {"name": "starting", "version": "4.0", "artifact_path": str(artifact("4.0")), "command": "./run"}
    await lab.service.deploy(Request({**request, "health_check": {"interval": 2.0}}), terms=behind)
    waiting = await lab.service.restart("starting", terms=behind)
    await lab.service.abort("starting", waiting.id, terms=Terms("ana"))
    tokens = Tokens(lab.store, site.clock)
    for role, environments in ((Role.deploy, ["staging", "live"]), (Role.read, None)):
        _, text = tokens.create(f"ci-{role}", role, environments, 86400.0 if environments else None, by="ana")
        tokens.find(text)
    tokens.revoke("ci-read", by="ana")
    lab.store.put_lock(Lock("deployment", "files", "ben", "migration", site.clock.now()))
    lab.store.put_lock(Lock("environment", "live", "ana", "", site.clock.now(), site.clock.now() + 10**9))
    for state in DeliveryState:
        now = site.clock.now()
        given = Delivery(f"msg_{state}", "chat", "rollout.failed", "held", "{}", DeliveryState.pending, now, now)
        lab.store.add_delivery(given)
        lab.store.note_attempt(replace(given, state=state, attempts=3, next_at=now + 60.0, answer="503"))
    going = lab.store.deployment("going")
    assert going is not None
    lab.store.save_deployment(replace(going, deleting="all"))
    rollout = lab.store.last_rollout_of("warm")
    assert rollout is not None
    lab.store.remember_key("token ana", "key-1", "fingerprint", rollout.id)
    found = records_of(lab.store)
    lab.store.db._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    text = dump(root / "longshore.db")
    lab.dead = True
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await asyncio.gather(*opened, return_exceptions=True)
    lab.close()
    (root / "store.sql").write_text(text)
    return root / "store.sql", found


def main() -> None:
    from longshore.store.sqlite import migrations

    logging.disable()
    version = migrations()[-1][0]
    target = STORES / f"schema-{version:04}.sql"
    if target.exists():
        sys.exit(f"{target} is there already, and stays as it is.")
    STORES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        sql, records = asyncio.run(lived(Path(directory)))
        target.write_text(sql.read_text().replace(directory, "/srv/artifacts"))
        lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(fields)}" for name, fields in records.items())
        target.with_suffix(".json").write_text(f"{{\n{lines}\n}}\n".replace(directory, "/srv/artifacts"))
    print(f"wrote {target}")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main()
