"""Watch: looks at what serves at every moment, and writes down where that was less than was promised."""

from __future__ import annotations

from longshore.drivers.mock import MockWorld
from support.dying_router import DyingRouter


class Watch:
    """promised   deployment → instances that serve at every moment from now on; None or missing: nothing is promised

    What is promised anything is also promised that no request is sent to what does not answer.
    """

    def __init__(self, world: MockWorld, router: DyingRouter) -> None:
        self._world, self._router = world, router
        self.promised: dict[str, int | None] = {}
        self.broken: list[str] = []

    def promise(self, name: str, fewest: int | None) -> None:
        self.promised[name] = fewest

    def lower(self, name: str, fewest: int | None) -> None:
        """Never more than was promised already."""
        now = self.promised.get(name)
        self.promised[name] = None if now is None or fewest is None else min(now, fewest)

    def excuse(self, *names: str) -> None:
        """Something died of these (without names: of all): until all is at rest again nothing is promised of them."""
        for name in names or tuple(self.promised):
            self.promised[name] = None

    def serving(self, name: str) -> int:
        """Instances that get traffic and answer."""
        return sum(self._world.ready_on(target.port) for target in self._router.takers(name))

    def look(self) -> None:
        for name, fewest in self.promised.items():
            if fewest is None:
                continue
            takers = self._router.takers(name)
            silent = [target.port for target in takers if not self._world.ready_on(target.port)]
            if silent:
                self._tell(f"requests for {name} were sent to {silent}, where nobody answers")
            if (count := len(takers) - len(silent)) < fewest:
                self._tell(f"{count} instances of {name} served, and {fewest} were promised")

    def _tell(self, what: str) -> None:
        if what not in self.broken:
            self.broken.append(what)
