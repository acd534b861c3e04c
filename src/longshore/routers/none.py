"""NoneRouter: the user's own balancer sends the requests. It is told where to, by a list in the API and by files.

Nothing of ours is in between: requests cannot be held or counted here, and whoever is connected to an instance is known
only where that runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from longshore.clock import Clock, SystemClock
from longshore.drivers.base import Fingerprint
from longshore.routers.base import Figures, RouterError, Target, Traffic
from longshore.routers.endpoints.files import EndpointFiles


class NoneRouter:
    """The router of one environment without one.

    files     written for a balancer; None: there is only the list in the API, which the store knows all of
    settle_s  so long after a change the balancer may still send requests by what it knew before: apply() waits for it
    on_event  as EnvoyRouter's
    """

    name = "none"

    def __init__(
        self,
        files: EndpointFiles | None = None,
        *,
        settle_s: float = 0.0,
        on_event: Callable[[str, str], None] = lambda type, message: None,
        clock: Clock | None = None,
    ) -> None:
        self._files, self._settle_s, self._on_event = files, settle_s, on_event
        self._clock = clock or SystemClock()
        self._applied: dict[str, Traffic] = {}
        #: when each was told of its last change, on the monotonic clock
        self._told: dict[str, float] = {}

    def capabilities(self) -> frozenset[str]:
        return frozenset({"weights"})

    async def fingerprint(self) -> Fingerprint:
        if self._files is None:
            return Fingerprint(True, "a balancer of your own asks for the list of endpoints")
        return self._files.fingerprint()

    async def restore(self, traffic: Mapping[str, Traffic]) -> None:
        for name, each in traffic.items():
            try:
                if self._files is not None:
                    await self._files.publish(name, each)
            except RouterError as error:
                self._on_event("error", f"endpoints of {name}: {error}")
            # Whoever was here before may have told of a change a moment ago: the next one to rely on it waits.
            self._applied[name], self._told[name] = each, self._clock.monotonic()
        strangers = sorted(set(self._files.known() if self._files is not None else ()) - set(traffic))
        if strangers and not traffic:
            listed = ", ".join(strangers)
            self._on_event("error", f"no deployment is known, but there are endpoints of {listed}: they are left there")
            return
        for name in strangers:
            self._on_event("warning", f"there were endpoints of {name}, which is no deployment here: taken out")
            try:
                await self.remove(name, 0.0)
            except RouterError as error:
                self._on_event("error", f"endpoints of {name}: {error}")

    async def apply(self, name: str, traffic: Traffic, *, ill_too: bool = False) -> None:
        changed = self._applied.get(name) != traffic
        if self._files is not None:
            changed = await self._files.publish(name, traffic)
        self._applied[name] = traffic
        if changed:
            self._told[name] = self._clock.monotonic()
        await self._settled(name, self._settle_s)

    async def read(self, name: str) -> Traffic | None:
        return self._applied.get(name)

    async def verify(self, name: str, traffic: Traffic) -> bool | None:
        """True: the file is like that, and the balancer has read it; or, without one, that is what was applied."""
        if self._files is not None:
            return await self._files.holds(name, traffic)
        return self._applied.get(name) == traffic

    async def drained(self, name: str, targets: tuple[Target, ...], bound_s: float) -> frozenset[Target]:
        """Who is still connected is not known here; but nobody new comes once the balancer follows."""
        await self._settled(name, bound_s)
        return frozenset()

    async def figures(self, name: str, pool: str) -> Figures | None:
        return None

    async def remove(self, name: str, drain_s: float) -> None:
        if self._files is not None:
            await self._files.give_up(name)
        now = self._clock.monotonic()
        self._told = {each: at for each, at in self._told.items() if now - at < self._settle_s}
        if self._applied.pop(name, None) is not None:
            self._told[name] = now

    async def close(self) -> None:
        pass

    # --- private

    async def _settled(self, name: str, bound_s: float) -> None:
        """Wait, at most `bound_s`, until the balancer has had its time to follow the last change."""
        told = self._told.get(name)
        if told is not None:
            await self._clock.sleep(max(0.0, min(told + self._settle_s - self._clock.monotonic(), bound_s)))
            if self._told.get(name) == told and self._clock.monotonic() - told >= self._settle_s:
                del self._told[name]
