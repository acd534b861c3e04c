"""A balancer of the user's own, a real HAProxy or nginx, told by a file: no request is lost through it.

Each request has a connection of its own: when they are reloaded, both close idle connections of their clients, which
may just be sending. Browsers and libraries send such a request again; the clients here never do.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from longshore.client import DeploymentFailed, DeploymentNotFound
from longshore.demo.stage import NAME
from support.balancers import first_file, haproxy, needs_haproxy, needs_nginx, nginx
from support.envoy import needs_envoy
from support.load import RequestFailed, ask
from support.manager import Site, open_site, until

BALANCERS = {"haproxy": (haproxy, "cfg"), "nginx": (nginx, "conf")}
both = pytest.mark.parametrize(
    "balanced", [pytest.param("haproxy", marks=needs_haproxy), pytest.param("nginx", marks=needs_nginx)], indirect=True
)
#: health checks of the balancer are connections, too; they may be open at the moment of a reload
CLIENTS = 8


@dataclass
class Balanced:
    site: Site
    file: Path
    reload: Path
    command: str


@pytest.fixture
async def balanced(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Balanced]:
    async with open_balanced(tmp_path, request.param) as found:
        yield found


@asynccontextmanager
async def open_balanced(directory: Path, format: str, **settings: str) -> AsyncIterator[Balanced]:
    run, suffix = BALANCERS[format]
    etc = directory / "etc"
    etc.mkdir()
    file = first_file(suffix, etc)
    reload = directory / "reload"
    variables = {
        "ROUTER": "none",
        "ENDPOINTS__FILE": f"{etc}/{{name}}.{suffix}",
        "ENDPOINTS__FORMAT": format,
        "ENDPOINTS__RELOAD": f"sh {reload}",
        "ENDPOINTS__SETTLE": "1s",
        **settings,
    }
    prefix = "LONGSHORE_ENVIRONMENTS__DEFAULT__"
    async with open_site(directory, settings={prefix + key: value for key, value in variables.items()}) as site:
        with run(etc, site.port) as command:
            reload.write_text(f"echo . >> {directory}/reloads\n{command}\n")
            yield Balanced(site, file, reload, command)
            with contextlib.suppress(DeploymentNotFound):
                await site.client.delete(NAME)  # while there is a balancer that can be told


@dataclass
class Clients:
    """Each sends its next request, on a new connection, when the last one was answered."""

    port: int
    answered: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    async def __aenter__(self) -> Clients:
        self._stopping = False
        self._tasks = [asyncio.create_task(self._run(number)) for number in range(CLIENTS)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopping = True
        await asyncio.gather(*self._tasks)

    async def _run(self, number: int) -> None:
        while not self._stopping:
            try:
                method, path, body = ("POST", "/echo", b"hello") if number % 4 == 0 else ("GET", "/", b"")
                answer = await ask(self.port, path, method=method, body=body)
                if answer.status != 200 or (body and answer.body != body):
                    self.failures.append(f"{method}: {answer.status} {answer.body[:80]!r}")
                self.answered[answer.headers.get("x-version", "")] += 1
            except RequestFailed as error:
                self.failures.append(str(error))
            await asyncio.sleep(0.01)


@both
async def test_no_request_is_lost_through_every_strategy_that_runs_two_versions(balanced: Balanced) -> None:
    site = balanced.site
    await site.deploy("1.0", "rolling")
    async with Clients(site.port) as clients:
        for version, strategy, fields in (
            ("1.1", "rolling", {}),
            ("1.2", "blue-green", {}),
            ("1.3", "blue-green", {"blue_green": {"keep_old": "0s"}}),
        ):
            await site.deploy(version, strategy, **fields)
            await asyncio.sleep(0.3)
        await site.client.rollback(NAME)
        await asyncio.sleep(0.3)
        await site.client.restart(NAME)
    assert clients.failures == []
    assert set(clients.answered) == {"1.0", "1.1", "1.2", "1.3"}
    assert await site.settled(extra=3) == "1.2"


@both
async def test_shares_are_those_that_were_asked_for(balanced: Balanced) -> None:
    site = balanced.site
    check = {"name": "always", "command": "true", "interval": "1s"}
    steps = [{"weight": 25, "pause": "manual"}, {"weight": 100, "pause": "0s"}]
    canary = {"steps": steps, "analysis": {"checks": [check]}}
    await site.deploy("1.0", "rolling")
    async with Clients(site.port) as clients:
        begun = await site.begin("2.0", "canary", canary=canary)
        assert begun is not None
        await until(lambda: site.rows("SELECT 1 FROM rollouts WHERE status = 'paused'"), "the canary waits")
        clients.answered.clear()
        await until(lambda: clients.answered.total() >= 400, "400 requests were answered", 30.0)
        share = clients.answered["2.0"] / clients.answered.total()
        await site.client.promote(NAME)
        assert (await site.until_over()).success
    assert clients.failures == []
    assert share == pytest.approx(0.25, abs=0.08)
    assert await site.settled() == "2.0"


@both
async def test_a_balancer_that_refuses_the_file_fails_the_rollout_and_serves_on(balanced: Balanced) -> None:
    site = balanced.site
    await site.deploy("1.0", "rolling")
    before = balanced.file.read_text()
    # Refused as long as it names anybody of the second rollout, as a broken template would be.
    refuse = 'if grep -q "shop-2-" "$ENDPOINTS_FILE"; then echo no such server; exit 7; fi'
    balanced.reload.write_text(f"{refuse}\n{balanced.command}\n")
    async with Clients(site.port) as clients:
        with pytest.raises(DeploymentFailed, match="no such server"):
            await site.deploy("2.0", "rolling")
    assert clients.failures == []
    assert balanced.file.read_text() == before
    assert await site.settled() == "1.0"


@both
async def test_a_manager_that_is_killed_in_the_middle_loses_no_request(balanced: Balanced) -> None:
    site = balanced.site
    await site.deploy("1.0", "rolling")
    async with Clients(site.port) as clients:
        for version, point in (("2.0", 12), ("3.0", 20), ("4.0", 28)):
            site.light_fuse(point)
            await site.begin(version, "rolling")
            await until(lambda: not site.manager.alive, "the manager is dead", 30.0)
            await site.restart()
            await site.until_over()
    assert clients.failures == []
    await site.settled()


@both
async def test_what_is_deleted_lists_nobody_and_the_balancer_goes_on(balanced: Balanced) -> None:
    site = balanced.site
    await site.deploy("1.0", "rolling")
    await site.client.delete(NAME)
    assert "127.0.0.1:2" not in balanced.file.read_text()
    assert (await ask(site.port)).status in (502, 503)
    await site.deploy("2.0", "rolling")
    assert (await ask(site.port)).status == 200


@both
async def test_the_list_says_what_the_balancer_was_told(balanced: Balanced) -> None:
    site = balanced.site
    await site.deploy("1.0", "rolling")
    found = await site.client.endpoints(NAME)
    assert (found.router, found.port, found.serves) == ("none", site.port, True)
    for target in found.pools[0].targets:
        assert f"{target.address}:{target.port}" in balanced.file.read_text()
    waiting = asyncio.ensure_future(site.client.endpoints(NAME, after=found.revision))
    await site.client.scale(NAME, 2)
    assert (await asyncio.wait_for(waiting, 10)).revision != found.revision


async def test_without_a_file_the_list_is_all_there_is(tmp_path: Path) -> None:
    prefix = "LONGSHORE_ENVIRONMENTS__DEFAULT__"
    async with open_site(tmp_path, settings={f"{prefix}ROUTER": "none"}) as site:
        await site.deploy("1.0", "rolling")
        found = await site.client.endpoints(NAME)
        assert [target.ready for target in found.pools[0].targets] == [True, True, True]
        answers = [await ask(target.port) for target in found.pools[0].targets]
        assert [answer.status for answer in answers] == [200, 200, 200]
        assert site.envoy() is None


@needs_envoy
async def test_an_environment_that_gets_another_router_leaves_the_former_one(tmp_path: Path) -> None:
    async with open_site(tmp_path, replicas=2) as site:
        await site.deploy("1.0", "rolling")
        assert (await ask(site.port)).status == 200
        await site.kill()
        site.manager._environment["LONGSHORE_ENVIRONMENTS__DEFAULT__ROUTER"] = "none"
        await site.restart()
        with pytest.raises(RequestFailed, match="refused"):
            await ask(site.port)
        (pool,) = (await site.client.endpoints(NAME)).pools
        assert [(await ask(target.port)).status for target in pool.targets] == [200, 200]
        await site.deploy("2.0", "rolling")
        await site.kill()
        del site.manager._environment["LONGSHORE_ENVIRONMENTS__DEFAULT__ROUTER"]
        await site.restart()
        assert (await ask(site.port)).headers["x-version"] == "2.0"
