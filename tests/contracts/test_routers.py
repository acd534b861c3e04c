"""What every router promises, asked of each entry of ROUTERS."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from longshore.routers import ROUTERS, RouterOptions
from longshore.routers.base import Router, RouterError, Traffic
from longshore.routers.envoy import EnvoyRouter
from support.backends import Backend, free_port
from support.envoy import A, B, needs_envoy, pool

ALL = [pytest.param(name, marks=needs_envoy if name == "envoy" else ()) for name in ROUTERS]
#: those through which the requests go
SENDING = [param for param in ALL if param.values != ("none",)]


@pytest.fixture
async def router(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Router]:
    options = RouterOptions(tmp_path / "router", lambda type, message: None, listen_host="127.0.0.1")
    made = ROUTERS[request.param](options)
    await made.restore({})
    yield made
    if isinstance(made, EnvoyRouter):
        await made.shutdown()
    else:
        await made.close()


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    async with Backend("v1") as backend:
        yield backend


@pytest.mark.parametrize("router", ALL, indirect=True)
async def test_a_router_knows_its_name_and_whether_it_can_be_used(router: Router) -> None:
    assert router.name in ROUTERS
    fingerprint = await router.fingerprint()
    assert fingerprint.usable
    assert fingerprint.reason
    assert router.capabilities() <= {"weights", "hold", "figures", "sticky", "drain"}


async def test_a_manager_of_deployments_without_ports_never_loads_envoy() -> None:
    code = (
        "import sys, longshore.routers as r; print({'envoy', 'longshore.routers.envoy'} & set(sys.modules) or 'none')"
    )
    python = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    output, _ = await python.communicate()
    assert output.split() == [b"none"]


@pytest.mark.parametrize("router", ALL, indirect=True)
async def test_removing_what_is_not_there_is_harmless(router: Router) -> None:
    await router.remove("nothing", 0)
    assert await router.read("nothing") is None
    assert await router.figures("nothing", A) is None


@pytest.mark.parametrize("router", ALL, indirect=True)
async def test_a_target_nobody_is_connected_to_is_drained(router: Router, backend: Backend) -> None:
    assert await asyncio.wait_for(router.drained("shop", (backend.target,), 5.0), 4.0) == frozenset()


@pytest.mark.parametrize("router", ALL, indirect=True)
async def test_closing_twice_is_closing_once(router: Router) -> None:
    await router.close()
    await router.close()


@pytest.mark.parametrize("router", ALL, indirect=True)
async def test_what_was_applied_is_read_and_verified(router: Router, backend: Backend) -> None:
    traffic = Traffic(free_port(), pool(A, backend))
    await router.apply("shop", traffic)
    assert await router.read("shop") == traffic
    assert await router.verify("shop", traffic) is True


@pytest.mark.parametrize("router", ALL, indirect=True)
async def test_applying_twice_is_applying_once(router: Router, backend: Backend) -> None:
    traffic = Traffic(free_port(), pool(A, backend))
    for _ in range(2):
        await router.apply("shop", traffic)
    assert await router.read("shop") == traffic
    assert await router.verify("shop", traffic) is True


@pytest.mark.parametrize("router", ALL, indirect=True)
async def test_what_was_replaced_is_no_longer_verified(router: Router, backend: Backend) -> None:
    before = Traffic(free_port(), pool(A, backend))
    after = Traffic(before.port, pool(B, backend))
    await router.apply("shop", before)
    await router.apply("shop", after)
    assert await router.verify("shop", before) is False
    assert await router.verify("shop", after) is True


@pytest.mark.parametrize("router", SENDING, indirect=True)
async def test_a_port_of_another_deployment_is_refused_and_named(router: Router, backend: Backend) -> None:
    traffic = Traffic(free_port(), pool(A, backend))
    await router.apply("shop", traffic)
    with pytest.raises(RouterError, match="shop"):
        await router.apply("other", traffic)
    assert await router.read("other") is None
    assert await router.verify("shop", traffic) is True


@pytest.mark.parametrize("router", ALL, indirect=True)
async def test_a_removed_deployment_is_forgotten(router: Router, backend: Backend) -> None:
    traffic = Traffic(free_port(), pool(A, backend))
    await router.apply("shop", traffic)
    await router.remove("shop", 1.0)
    await router.remove("shop", 1.0)
    assert await router.read("shop") is None
    assert await router.figures("shop", A) is None
    assert await router.verify("shop", traffic) is False


@pytest.mark.parametrize("router", SENDING, indirect=True)
async def test_a_served_pool_has_figures(router: Router, backend: Backend) -> None:
    await router.apply("shop", Traffic(free_port(), pool(A, backend)))
    figures = await router.figures("shop", A)
    assert figures is not None
    assert figures.requests == 0
    assert await router.figures("shop", B) is None
