"""What a manager is killed in: each act from a state that it finds to one or the other that it may leave."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol
from urllib.parse import urlsplit

from chaos.sweeping.cases import Group
from chaos.sweeping.stand import BROKEN, REPLICAS, Stand
from longshore.client import ApiError, DeploymentNotFound
from longshore.demo.stage import NAME
from longshore.demo.wire import Failed, open_stream
from longshore.rollout.strategies import STRATEGIES

#: lights the fuse, from whose lighting on the writes count
Arm = Callable[[], None]


class Act(Protocol):
    """One kind of thing that a manager does, over and over on one stand."""

    #: requests are sent all the while; not where nothing serves by nature
    loaded: bool
    #: it takes an `at`, and is measured at many
    aborts: bool
    #: how it has ended, as check() says, where it was answered that it succeeded; "": that says nothing
    answered: str

    async def restore(self, stand: Stand) -> None:
        """Make the state that it begins from, out of any that it may leave."""

    async def do(self, stand: Stand, arm: Arm, at: int) -> None:
        """All of it, `arm` called where its writes begin to count. Raises ClientError where the manager dies, ApiError
        or AssertionError where it does not end as it ought to."""

    async def check(self, stand: Stand) -> str:
        """What must hold once the next manager has settled. Returns how it ended, in a word. Raises AssertionError."""


class _Settling:
    """Acts after which something serves."""

    loaded = True
    aborts = False
    answered = "as wanted"

    async def restore(self, stand: Stand) -> None:
        pass

    def may_serve(self, stand: Stand) -> set[str]:
        return {stand.serving, stand.wanted}

    async def check(self, stand: Stand) -> str:
        now = await stand.site.settled(extra=REPLICAS)
        may = self.may_serve(stand)
        assert now in may, f"{now} serves, it may be {may}"
        stand.serving, before = now, stand.serving
        return "as before" if now == before else "as wanted"


class GoodRelease(_Settling):
    async def do(self, stand: Stand, arm: Arm, at: int) -> None:
        arm()
        await stand.site.deploy(stand.fresh(), stand.group.strategy, **stand.short)


class FailingRelease(_Settling):
    answered = ""

    def may_serve(self, stand: Stand) -> set[str]:
        return {stand.serving}

    async def do(self, stand: Stand, arm: Arm, at: int) -> None:
        arm()
        with suppress(ApiError):
            await stand.site.deploy(stand.fresh(), stand.group.strategy, **stand.short | BROKEN)
            raise AssertionError("a release that is never healthy was deployed")


class Abort(_Settling):
    """The manager stands still at a write of a deploy; the request arrives; it goes on, and finds it."""

    aborts = True
    answered = ""

    async def do(self, stand: Stand, arm: Arm, at: int) -> None:
        site = stand.site
        site.light_fuse(at, "committed", sent=signal.SIGSTOP)
        deploying = asyncio.ensure_future(site.begin(stand.fresh(), stand.group.strategy, **stand.short))
        asking: asyncio.StreamWriter | None = None
        try:
            stopped = await stand.stopped()
            arm()
            if stopped:
                asking = await ask_to_abort(stand)
            stand.go_on()
            await deploying
            await stand.until_finished()
        finally:
            stand.go_on()
            deploying.cancel()
            if asking is not None:
                asking.close()


class Rollback(_Settling):
    """Back and forth between two releases; of blue-green a switch, as the old set stays warm."""

    async def restore(self, stand: Stand) -> None:
        # After a rollback that was undone, or not begun, there is nothing to do.
        if stand.other and (stand.group.strategy != "blue-green" or _warm(stand) == {stand.other}):
            return
        stand.other = stand.serving
        await stand.deploy()

    async def do(self, stand: Stand, arm: Arm, at: int) -> None:
        stand.wanted = stand.other
        arm()
        await stand.site.client.rollback(NAME, stand.wanted, timeout=60)

    async def check(self, stand: Stand) -> str:
        before = stand.serving
        outcome = await super().check(stand)
        if stand.serving != before:
            stand.other = before
        return outcome


class Restart(_Settling):
    answered = "as before"  # the same version

    async def do(self, stand: Stand, arm: Arm, at: int) -> None:
        arm()
        await stand.site.client.restart(NAME, timeout=60)


class Scale(_Settling):
    """From two to three, and back from whichever it is."""

    async def do(self, stand: Stand, arm: Arm, at: int) -> None:
        arm()
        await stand.site.client.scale(NAME, 2 * REPLICAS + 1 - stand.site.replicas, timeout=60)

    async def check(self, stand: Stand) -> str:
        desired = (await stand.site.client.get(NAME)).replicas.desired
        assert desired in (REPLICAS, REPLICAS + 1), f"{desired} replicas"
        before, stand.site.replicas = stand.site.replicas, desired
        await super().check(stand)
        return "as before" if desired == before else "as wanted"


class FirstDeploy:
    """Of what is not there yet."""

    loaded = False
    aborts = False
    answered = "as wanted"

    async def restore(self, stand: Stand) -> None:
        with suppress(DeploymentNotFound):
            await stand.site.client.delete(NAME)
        stand.serving = ""

    async def do(self, stand: Stand, arm: Arm, at: int) -> None:
        arm()
        await stand.site.deploy(stand.fresh(), stand.group.strategy, **stand.short)

    async def check(self, stand: Stand) -> str:
        with suppress(DeploymentNotFound):
            if (await stand.site.client.get(NAME)).state != "failed":
                assert await stand.site.settled() == stand.wanted
                stand.serving = stand.wanted
                return "as wanted"
        await assert_nothing_runs(stand)
        return "as before"


class Delete:
    """One that was interrupted can be repeated, and leaves nothing."""

    loaded = False
    aborts = False
    answered = "gone"

    async def restore(self, stand: Stand) -> None:
        try:
            await stand.site.client.get(NAME)
        except DeploymentNotFound:
            await stand.deploy()

    async def do(self, stand: Stand, arm: Arm, at: int) -> None:
        arm()
        await stand.site.client.delete(NAME)

    async def check(self, stand: Stand) -> str:
        with suppress(DeploymentNotFound):
            await stand.site.client.delete(NAME)
        await assert_nothing_runs(stand)
        assert not (stand.site.data / "apps" / NAME).exists(), "its files are left"
        assert (await stand.site.client.list()).total == 0, "it is still listed"
        return "gone"


# To add an act: a class above (see Act), a line here, and the groups it is swept in below. The heading "The sweep" of
# docs/reliability.md says what each of them is. tests/chaos/test_real_kills.py carries out a few of every entry.
# Keys are what the table, the file of results and `--only` call it.
ACTS: dict[str, Act] = {
    "good": GoodRelease(),
    "failing": FailingRelease(),
    "abort": Abort(),
    "rollback": Rollback(),
    "first": FirstDeploy(),
    "restart": Restart(),
    "scale": Scale(),
    "delete": Delete(),
}
#: acts that are the same whatever the strategy
OF_NO_STRATEGY = ("restart", "scale", "delete")


def groups() -> list[Group]:
    """Every strategy with every act, those that know no strategy once."""
    return [Group(strategy, act) for strategy in STRATEGIES for act in ACTS if act not in OF_NO_STRATEGY] + [
        Group("rolling", act) for act in OF_NO_STRATEGY
    ]


async def ask_to_abort(stand: Stand) -> asyncio.StreamWriter | None:
    """Have the request arrive at a manager that stands still. The answer is not waited for: the rollout tells."""
    rows = stand.site.rows("SELECT id FROM rollouts ORDER BY number DESC LIMIT 1")
    if not rows:
        return None
    url = urlsplit(json.loads((stand.site.data / "server.json").read_text())["url"])
    token = (stand.site.data / "admin.token").read_text().strip()
    _, writer = await asyncio.open_connection(url.hostname, url.port)
    # Written by hand: what a client library has sent by the time the manager goes on is not to be known.
    writer.write(
        f"POST /api/v1/deployments/{NAME}/rollouts/{rows[0]['id']}/abort HTTP/1.1\r\nHost: {url.netloc}\r\n"
        f"Authorization: Bearer {token}\r\nContent-Length: 0\r\n\r\n".encode()
    )
    await writer.drain()
    return writer


async def assert_nothing_runs(stand: Stand) -> None:
    site = stand.site
    assert not (found := site.launches()), f"{found} run on; the store knows {site.instances()}"
    try:
        _, writer = await open_stream("127.0.0.1", site.port)
    except Failed:
        return
    writer.close()
    raise AssertionError(f"somebody listens on port {site.port}, though nothing is deployed")


def _warm(stand: Stand) -> set[str]:
    """Versions of which a whole set runs without traffic."""
    versions = Counter(
        row["version"] for row in stand.site.instances() if row["retire_at"] is not None and row["state"] != "stopped"
    )
    return {version for version, count in versions.items() if count == REPLICAS}
