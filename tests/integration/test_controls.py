"""The controls of every day on a real manager, with real processes and a real Envoy, under load."""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from longshore.cli.root import cli
from longshore.client import BackupNotFound, DeploymentInProgress, PreconditionFailed
from longshore.demo.stage import NAME
from longshore.demo.wire import open_stream, read_head
from support.documents import blocks_of
from support.envoy import needs_envoy
from support.manager import Site, open_site, until

pytestmark = needs_envoy

GUIDE = "docs/guide/day-to-day.md"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(tmp_path, replicas=2) as site:
        yield site


async def answered(site: Site) -> tuple[int, str, dict[str, str]]:
    """Status, version and headers of one request on a connection of its own."""
    reader, writer = await open_stream("127.0.0.1", site.port)
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
        return await asyncio.wait_for(read_head(reader), 10)
    finally:
        writer.close()


async def test_a_stop_answers_503_at_once_and_a_start_serves_again(site: Site) -> None:
    await site.deploy("1.0", "rolling")
    reader, writer = await open_stream("127.0.0.1", site.port)
    writer.write(b"GET /events?s=2 HTTP/1.1\r\nHost: shop\r\n\r\n")
    assert (await read_head(reader))[:2] == (200, "1.0")  # a stream is under way
    begun = await site.client.stop(NAME, wait=False)
    async with asyncio.timeout(10):
        while (refusal := await answered(site))[0] == 200:
            continue
    status, version, headers = refusal
    assert (status, version) == (503, "")
    assert int(headers["retry-after"]) >= 1
    assert not (await site.client.rollout(NAME, begun.id)).is_over, "what was under way is waited for"
    assert b"event: end" in await asyncio.wait_for(reader.readuntil(b"event: end"), 10)
    writer.close()
    assert (await site.client.wait(NAME, begun.id)).success
    assert site.launches() == []
    found = await site.client.get(NAME)
    assert (found.stopped, found.state, found.health, found.replicas.desired) == (True, "unhealthy", "unhealthy", 0)

    # It stays so for a manager that follows one that was killed, and for an Envoy that is started anew.
    await site.kill()
    assert (await answered(site))[0] == 503
    await site.restart()
    assert ((await answered(site))[0], site.launches()) == (503, [])
    assert (await site.client.get(NAME)).stopped

    started = asyncio.create_task(site.client.start(NAME, timeout=60))
    await until(lambda: site.launches() or started.done(), "the instances are started")
    status, version, _ = await answered(site)  # it waits in the router until they are ready
    assert (status, version) == (200, "1.0")
    assert (await started).success
    assert await site.settled() == "1.0"


async def test_a_change_under_load_loses_no_request_and_is_rolled_back(site: Site) -> None:
    await site.deploy("1.0", "rolling", configuration={"GREETING": "hello", "API_TOKEN": "hush-hush"})
    async with site.load(connections=8, post_every=4, pause_s=0.02, held_s=1.0) as load:
        shown = (await site.client.get(NAME)).configuration
        assert shown["API_TOKEN"] == "********"
        patch = {"configuration": {**shown, "GREETING": None, "COLOUR": "blue"}, "stop_timeout": "4s"}
        changed = await site.client.configure(NAME, patch, timeout=60)
        assert (changed.version, changed.previous_version) == ("1.0+c1", "1.0")
        found = await site.client.get(NAME)
        assert found.configuration == {"API_TOKEN": "********", "COLOUR": "blue"}
        environment = next(iter(site.environments()))
        assert environment["API_TOKEN"] == "hush-hush", "the mask was stored"
        assert (environment["COLOUR"], environment["RELEASE_VERSION"]) == ("blue", "1.0+c1")
        assert "GREETING" not in environment
        back = await site.client.rollback(NAME)
        assert back.version == "1.0"
        goal = len(load.ledger) + 200
        await until(lambda: len(load.ledger) >= goal, "200 more requests are answered")
        assert next(iter(site.environments()))["GREETING"] == "hello"
    summary = load.ledger.summary()
    assert not summary.failed, f"{summary}\n" + "\n".join(map(str, load.ledger.losses()[:20]))
    assert await site.settled() == "1.0"


async def test_of_two_clients_at_one_revision_exactly_one_is_heard(site: Site) -> None:
    await site.deploy("1.0", "rolling")
    seen = (await site.client.get(NAME)).revision
    asked = [
        site.client.configure(NAME, {"configuration": {"WHO": who}}, if_revision=seen, timeout=60)
        for who in ("ana", "bob")
    ]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    (heard,) = [each for each in answers if not isinstance(each, BaseException)]
    (refused,) = [each for each in answers if isinstance(each, BaseException)]
    assert heard.success
    assert isinstance(refused, PreconditionFailed | DeploymentInProgress), refused
    assert await site.settled() == "1.0+c1"
    page = await site.client.rollouts(NAME)
    assert [rollout.kind for rollout in page.rollouts] == ["change", "deploy"]
    with pytest.raises(PreconditionFailed) as late:
        await site.client.stop(NAME, if_revision=seen)
    assert late.value.details["revision"] == (await site.client.get(NAME)).revision


async def test_a_pinned_release_survives_a_prune(site: Site) -> None:
    for version in ("1.0", "1.1", "1.2", "1.3"):
        await site.deploy(version, "recreate")
    pinned = await site.client.pin(NAME, "1.0", reason="the old schema")
    assert (pinned.pinned, pinned.pinned_reason) == (True, "the old schema")
    releases = site.data / "apps" / NAME / "releases"
    size = next(each.size_bytes for each in (await site.client.releases(NAME)).releases if each.version == "1.1")
    pruned = await site.client.prune(NAME, keep=1)
    assert (pruned.removed, pruned.freed_bytes) == (("1.1",), size)
    assert {place.name for place in releases.iterdir()} == {"1.0", "1.2", "1.3"}
    assert (await site.client.rollback(NAME, "1.0")).version == "1.0"
    with pytest.raises(BackupNotFound):
        await site.client.pin(NAME, "1.1")
    assert await site.settled() == "1.0"


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


def plain(line: str) -> str:
    """Without what differs from run to run: how long it took, how much it was, how often it was changed."""
    line = re.sub(r"\b\d+(\.\d+)? m?s\b", "# s", line)
    return re.sub(r"\b\d+(\.\d+)? (Ki)?B\b|(?<=revision )\d+", "#", line)


async def test_the_guide_of_every_day_can_be_followed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in ("0.8", "0.9", "1.0"):
        await site.deploy(version, "rolling")
    monkeypatch.setenv("LONGSHORE_DATA_DIR", str(site.data))
    said: Any
    for command, expected in examples():
        said = await asyncio.to_thread(CliRunner().invoke, cli, shlex.split(command)[1:], catch_exceptions=False)
        assert (said.exit_code == 0) is not any(line.startswith("error") for line in expected), said.output
        lines = iter([plain(line) for line in said.output.splitlines()])
        for line in expected:
            wanted = plain(line).split("[…]")[0]
            assert any(each.startswith(wanted) for each in lines), f"{command}: {line}\n\n{said.output}"
    (example,) = blocks_of(GUIDE, "python")
    told: list[str] = []
    await asyncio.to_thread(exec, compile(example, GUIDE, "exec"), {"print": lambda *said: told.append(str(said))})
    assert told == ["('1.0+c3', 'serves')"]
