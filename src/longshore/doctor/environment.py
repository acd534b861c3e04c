"""The manager looks at the hosts of an environment, over the connections that it works with.

Not by a connection of the asker's own: what counts is whether the manager gets there, by its keys and its network; and
since it shows its own epoch, the look is fenced like everything else and takes nothing from a manager that runs.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping

from longshore.doctor.finding import Finding
from longshore.drivers.base import Driver
from longshore.hosts.base import HERE, Hosts
from longshore.settings import Settings

#: seconds that all hosts together may take, who are looked at side by side
BOUND_S = 50.0


class Doctor:
    """hosts_of: those of an environment whose driver has any, else nothing. check: raises NotFound for a name that
    neither the configuration nor a deployment knows."""

    def __init__(
        self,
        settings: Settings,
        driver_of: Callable[[str], Driver],
        hosts_of: Callable[[str], Hosts],
        check: Callable[[str], None],
    ) -> None:
        self._settings, self._driver_of, self._hosts_of, self._check = settings, driver_of, hosts_of, check
        # One look at a time: two would be in the way of each other's listeners.
        self._looking: Mapping[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def examine(self, name: str) -> list[Finding]:
        """Host by host, in the order of the configuration. Raises NotFound, LeaseLost."""
        self._check(name)
        hosts = self._hosts_of(name)
        if not hosts:
            return await self._process(name)
        # Only where there are units: what asks systemd costs time and memory.
        from longshore.doctor.host import Wanted, examine

        environment = self._settings.environment(name)
        first, _, last = self._settings.instance_ports.partition("-")
        async with self._looking[name]:
            found = await asyncio.gather(
                *(
                    self._bounded(
                        host.name,
                        examine(
                            host,
                            Wanted(
                                apps=environment.apps_there if host.name != HERE else str(self._settings.data_dir),
                                user=environment.user or "",
                                ports=(int(first), int(last)),
                            ),
                        ),
                    )
                    for host in hosts.values()
                )
            )
        return [finding for each in found for finding in each]

    async def _process(self, name: str) -> list[Finding]:
        """Of an environment whose instances are processes of the manager's machine."""
        fingerprint = await self._driver_of(name).fingerprint()
        text = f"driver process on the manager's machine: {fingerprint.reason}"
        if not fingerprint.usable:
            return [Finding(HERE, "driver", "fail", text, "`longshore doctor` there looks at the machine itself")]
        return [Finding(HERE, "driver", "ok", text)]

    async def _bounded(self, host: str, looking: Awaitable[list[Finding]]) -> list[Finding]:
        try:
            async with asyncio.timeout(BOUND_S):
                return await looking
        except TimeoutError:
            remedy = "something there hangs: look at its load and its disks, then ask again"
            return [Finding(host, "reach", "fail", f"not everything was answered within {BOUND_S:g} s", remedy)]
