"""What waits for its turn or for an approval, on a real manager that is killed meanwhile, under load."""

from __future__ import annotations

import asyncio
import re
import shlex
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from longshore.cli.root import cli
from longshore.client import AsyncLongshore, DeploymentAborted, DeploymentInProgress, Forbidden
from longshore.client.results import Rollout
from longshore.demo.stage import NAME
from support.documents import blocks_of
from support.envoy import needs_envoy
from support.manager import Site, open_site, until

pytestmark = needs_envoy

GUIDE = "docs/guide/conflicts.md"
#: of a rollout that does not end by itself while a test lasts
SLOW = {"pre_deploy_hooks": ["sleep 300"]}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    settings = {"LONGSHORE_ENVIRONMENTS__PRODUCTION__APPROVAL": "true"}
    async with open_site(tmp_path, replicas=2, settings=settings) as site:
        yield site


async def busy(site: Site, version: str) -> Rollout:
    begun = await site.begin(version, "rolling", **SLOW)
    assert begun is not None
    await until(site.hooks, "the hook runs")
    return begun


async def queued(site: Site, version: str, on_conflict: str = "queue") -> Rollout:
    waiting = await site.begin(version, "rolling", on_conflict=on_conflict)
    assert waiting is not None
    assert (waiting.status, waiting.waiting_for) == ("queued", "turn")
    return waiting


async def test_two_wait_for_their_turns_and_the_third_supersedes_them_without_losing_a_request(site: Site) -> None:
    await site.deploy("1.0", "rolling")
    async with site.load(connections=4, post_every=4, pause_s=0.02) as load:
        first = await busy(site, "1.1")
        with pytest.raises(DeploymentInProgress):
            await site.client.restart(NAME)
        second = await queued(site, "1.2")
        waits = asyncio.create_task(site.client.restart(NAME, on_conflict="queue", timeout=60))
        await until(lambda: len(site.rows("SELECT * FROM waiting")) == 2, "the restart waits as well")
        newer = await queued(site, "1.3", "supersede")
        assert (await site.client.wait(NAME, first.id, timeout=60)).status == "unwound"
        assert (await site.client.wait(NAME, second.id, timeout=60)).status == "cancelled"
        with pytest.raises(DeploymentAborted, match=r"admin asked for a deploy of 1\.3 instead"):
            await waits
        behind = await site.client.scale(NAME, 3, on_conflict="queue", timeout=60)
        assert (await site.client.wait(NAME, newer.id)).status == "succeeded"
        assert (behind.kind, behind.version, behind.success) == ("scale", "1.3", True)
        site.replicas = 3
    summary = load.ledger.summary()
    assert not summary.failed, f"{summary}\n" + "\n".join(map(str, load.ledger.losses()[:20]))
    assert site.hooks() == []
    assert await site.settled() == "1.3"


async def test_what_waits_when_the_manager_is_killed_begins_with_the_next(site: Site) -> None:
    await site.deploy("1.0", "rolling")
    first, second = await busy(site, "1.1"), await queued(site, "1.2")
    third = await site.client.restart(NAME, on_conflict="queue", wait=False)
    await site.kill()
    await site.restart()
    ended = [await site.client.wait(NAME, each.id, timeout=60) for each in (first, second, third)]
    assert [(each.status, each.number, each.version) for each in ended] == [
        ("unwound", 2, "1.1"), ("succeeded", 3, "1.2"), ("succeeded", 4, "1.2"),
    ]  # fmt: skip
    assert site.rows("SELECT * FROM waiting") == []
    assert await site.settled() == "1.2"


async def test_what_waits_for_an_approval_still_does_after_a_kill_and_begins_with_it(site: Site) -> None:
    asked = await site.client.deploy(site.spec("1.0", "rolling", environment="production"))
    assert (asked.status, asked.waiting_for) == ("queued", "approval")
    await site.kill()
    await site.restart()
    status = await site.client.get(NAME)
    assert (status.state, [each.rollout_id for each in status.queue]) == ("unknown", [asked.id])
    with pytest.raises(Forbidden, match="somebody else"):
        await site.client.approve(NAME)
    assert site.launches() == []
    made = await site.client.create_token("ben", "deploy", environments=["production"])
    async with AsyncLongshore(token=made.token, data_dir=site.data) as ben:
        assert (await ben.approve(NAME, comment="seen")).approved_by == "ben"
        over = await site.client.wait(NAME, asked.id, timeout=60)
        assert (over.status, over.requested_by, over.approved_by) == ("succeeded", "admin", "ben")
        again = await ben.restart(NAME, timeout=60)
        assert again.waiting_for == "approval"
        with pytest.raises(Forbidden, match="somebody else"):
            await ben.approve(NAME, again.id)
    assert (await site.client.abort(NAME, again.id, reason="not today")).status == "cancelled"
    assert (await site.client.get(NAME)).queue == ()
    assert await site.settled() == "1.0"


# ------------------------------------------------------------------------------------------------- the guide


def examples() -> list[tuple[str, list[str]]]:
    """Commands of the guide, each with the lines that it is said to answer."""
    found: list[tuple[str, list[str]]] = []
    for block in blocks_of(GUIDE, "console"):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


def fits(wanted: str, line: str) -> bool:
    """Whether a line is as the guide has it; `[…]` stands for anything, and so does how long something took."""
    parts = [re.escape(part) for part in re.sub(r"\d+\.\d s", "[…]", wanted).split("[…]")]
    return re.match(".*".join(parts), line) is not None


async def test_the_guide_to_conflicts_can_be_followed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    await site.deploy("1.0", "rolling")
    for version in ("1.0", "1.1", "1.2"):
        shutil.copytree(site.artifact(version), site.directory / f"shop-{version}")
    monkeypatch.chdir(site.directory)
    monkeypatch.setenv("LONGSHORE_DATA_DIR", str(site.data))
    for command, expected in examples():
        said = await asyncio.to_thread(CliRunner().invoke, cli, shlex.split(command)[1:], catch_exceptions=False)
        assert (said.exit_code == 0) is not any(line.startswith("error") for line in expected), said.output
        lines = iter(said.output.splitlines())
        for line in expected:
            assert any(fits(line, each) for each in lines), f"{command}: {line}\n\n{said.output}"
    (example,) = blocks_of(GUIDE, "python")
    told: list[str] = []
    await asyncio.to_thread(exec, compile(example, GUIDE, "exec"), {"print": lambda *said: told.append(str(said))})
    assert told == ["('1.2', 'serves')"]
    assert await site.settled() == "1.2"
