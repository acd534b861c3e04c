"""Each deployment's traffic goes to the router of its environment, and to no other."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from longshore.routers.base import RouterError, Target, TargetPool, Traffic
from longshore.routers.by_environment import RouterByEnvironment
from longshore.routers.mock import MockRouter
from longshore.routers.none import NoneRouter


def traffic(port: int) -> Traffic:
    return Traffic(port, TargetPool("aaaaaaa1", (Target("127.0.0.1", 20000 + port),)))


class Site:
    """Environments `here` and any other with one router, and `own` with another."""

    def __init__(self) -> None:
        self.here, self.own = MockRouter(), MockRouter()
        self.environments = {"shop": "here", "api": "own", "web": "elsewhere"}
        self.events: list[tuple[str, str]] = []
        routers = {"here": self.here, "own": self.own}
        self.router = RouterByEnvironment(
            routers, self.here, self.environments.get, lambda *event: self.events.append(event)
        )


@pytest.fixture
def site() -> Site:
    return Site()


async def test_traffic_is_applied_read_verified_and_removed_where_it_belongs(site: Site) -> None:
    for name, port in (("shop", 1), ("api", 2), ("web", 3)):
        await site.router.apply(name, traffic(port))
    assert (set(site.here.applied), set(site.own.applied)) == ({"shop", "web"}, {"api"})
    assert await site.router.read("api") == traffic(2)
    assert await site.router.verify("api", traffic(2))
    assert await site.router.figures("api", "aaaaaaa1") is not None
    await site.router.remove("api", 0)
    assert await site.router.read("api") is None


async def test_each_router_is_given_its_part_of_what_is_restored(site: Site) -> None:
    await site.router.restore({"shop": traffic(1), "api": traffic(2), "web": traffic(3)})
    assert (set(site.here.applied), set(site.own.applied)) == ({"shop", "web"}, {"api"})


async def test_what_a_router_served_before_its_environment_got_another_one_is_taken_out(site: Site) -> None:
    site.here.applied["api"] = traffic(2)

    async def adopt(_: object) -> None:
        """As Envoy does for no traffic at all: it leaves what it finds."""

    site.here.restore = adopt  # type: ignore[method-assign]
    await site.router.restore({"api": traffic(2)})
    assert (set(site.here.applied), set(site.own.applied)) == (set(), {"api"})


async def test_what_cannot_be_taken_out_of_another_router_keeps_no_manager_from_starting(site: Site) -> None:
    async def refuse(name: str, drain_s: float) -> None:
        raise RouterError("the balancer does not take it")

    site.here.remove = refuse  # type: ignore[method-assign]
    await site.router.restore({"api": traffic(2)})
    assert site.events == [
        ("error", "api could not be taken out of the router it had before: the balancer does not take it")
    ]


async def test_a_deployment_that_was_moved_before_it_was_committed_leaves_the_other_router(site: Site) -> None:
    await site.router.apply("shop", traffic(1))
    site.environments["shop"] = "own"
    await site.router.apply("shop", traffic(1))
    assert (set(site.here.applied), set(site.own.applied)) == (set(), {"shop"})


async def test_drained_asks_the_router_of_the_deployment(site: Site) -> None:
    target = Target("127.0.0.1", 20001)
    site.own.busy = {target}
    assert await site.router.drained("api", (target,), 0) == {target}
    assert await site.router.drained("shop", (target,), 0) == frozenset()


def only(can: Iterable[str]) -> Callable[[], frozenset[str]]:
    return lambda: frozenset(can)


async def test_an_environment_can_do_what_its_router_can_and_all_what_all_can(site: Site) -> None:
    site.own.capabilities = only({"weights"})  # type: ignore[method-assign]
    assert "hold" in site.router.of("here").capabilities()
    assert "hold" in site.router.of("unheard of").capabilities()
    assert site.router.of("own").capabilities() == {"weights"}
    assert site.router.capabilities() == {"weights"}


async def test_it_can_be_used_where_each_can(site: Site) -> None:
    assert (await site.router.fingerprint()).usable
    site.own.usable = site.own.usable.__class__(False, "no directory")
    found = await site.router.fingerprint()
    assert (found.usable, "no directory" in found.reason) == (False, True)


async def test_closing_closes_each_once(site: Site) -> None:
    await site.router.close()
    assert (site.here.closed, site.own.closed) == (True, True)


async def test_without_a_router_the_list_alone_is_kept() -> None:
    router = RouterByEnvironment({"own": NoneRouter()}, MockRouter(), lambda name: "own", lambda *event: None)
    await router.apply("api", traffic(2))
    assert await router.verify("api", traffic(2)) is True
    assert await router.verify("api", traffic(3)) is False
