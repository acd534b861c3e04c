"""RouterByEnvironment: each deployment's traffic goes to the router of its environment.

Envoy is one for all the environments that use it; one where the user's own balancer sends the requests has its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from longshore.drivers.base import Fingerprint
from longshore.routers.base import Figures, Router, RouterError, Target, Traffic

#: seconds that requests may go on in a router that a deployment has been taken away from, by another configuration
LEFT_DRAIN_S = 10.0


class RouterByEnvironment:
    """routers         by environment
    default         of environments that are not among those
    environment_of  the environment of a deployment; None: there is no such deployment (any more)
    on_event        as EnvoyRouter's
    """

    name = "by environment"

    def __init__(
        self,
        routers: Mapping[str, Router],
        default: Router,
        environment_of: Callable[[str], str | None],
        on_event: Callable[[str, str], None],
    ) -> None:
        self._routers, self._default, self._environment_of = dict(routers), default, environment_of
        self._on_event = on_event
        #: each once
        self._all = list({id(router): router for router in (default, *self._routers.values())}.values())

    def of(self, environment: str) -> Router:
        """The router of an environment."""
        return self._routers.get(environment, self._default)

    def capabilities(self) -> frozenset[str]:
        """What can be asked for in every environment; of() tells the rest."""
        return frozenset.intersection(*(router.capabilities() for router in self._all))

    async def fingerprint(self) -> Fingerprint:
        found = await asyncio.gather(*(router.fingerprint() for router in self._all))
        reasons = "; ".join(f"{r.name}: {f.reason}" for r, f in zip(self._all, found, strict=True))
        return Fingerprint(all(each.usable for each in found), reasons)

    async def restore(self, traffic: Mapping[str, Traffic]) -> None:
        routers = {name: self._router(name) for name in traffic}
        for router in self._all:
            await router.restore({name: each for name, each in traffic.items() if routers[name] is router})
        # A configuration that gives an environment another router leaves what the former one served.
        for name in traffic:
            try:
                await self._leave(name, routers[name])
            except RouterError as error:
                self._on_event("error", f"{name} could not be taken out of the router it had before: {error}")

    async def apply(self, name: str, traffic: Traffic, *, ill_too: bool = False) -> None:
        router = self._router(name)
        await router.apply(name, traffic, ill_too=ill_too)
        # As long as nothing is committed a deployment may be moved to another environment.
        for other in self._all:
            if other is not router and await other.read(name) is not None:
                await other.remove(name, LEFT_DRAIN_S)

    async def read(self, name: str) -> Traffic | None:
        return await self._router(name).read(name)

    async def verify(self, name: str, traffic: Traffic) -> bool | None:
        return await self._router(name).verify(name, traffic)

    async def drained(self, name: str, targets: tuple[Target, ...], bound_s: float) -> frozenset[Target]:
        return await self._router(name).drained(name, targets, bound_s)

    async def figures(self, name: str, pool: str) -> Figures | None:
        return await self._router(name).figures(name, pool)

    async def remove(self, name: str, drain_s: float) -> None:
        router = self._router(name)
        await router.remove(name, drain_s)
        await self._leave(name, router)

    async def close(self) -> None:
        for router in self._all:
            await router.close()

    # --- private

    def _router(self, name: str) -> Router:
        environment = self._environment_of(name)
        return self._default if environment is None else self.of(environment)

    async def _leave(self, name: str, router: Router) -> None:
        """No other router has anything of this deployment."""
        for other in self._all:
            if other is not router:
                await other.remove(name, LEFT_DRAIN_S)
