"""What runs the instances of each environment, and on which machines: its driver and its hosts, made once."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

from longshore.drivers import DRIVERS
from longshore.drivers.base import Driver
from longshore.fence import Fence
from longshore.hosts.base import Hosts, Place, just_here
from longshore.settings import Environment, Settings

#: seconds that a manager which starts waits for its hosts
MEET_S = 1.0


class Machines:
    """Environments that say nothing share this machine and its driver `process`; each other one has its own.

    manager_id, epoch   of the store, once it was taken over
    process             the driver of this machine's processes, which is there whatever the environments say
    """

    def __init__(self, settings: Settings, manager_id: str, epoch: int, fence: Fence) -> None:
        self._settings = settings
        self._manager_id, self._epoch, self._fence = manager_id, epoch, fence
        self.process = DRIVERS["process"](manager_id, fence)
        self._hosts: dict[str, Hosts] = {}
        self._drivers: dict[str, Driver] = {}
        for name, environment in settings.environments.items():
            if environment.driver == "systemd":
                self._hosts[name] = hosts = self._make_hosts(environment)
                self._drivers[name] = DRIVERS["systemd"](manager_id, fence, hosts)

    def driver_of(self, environment: str) -> Driver:
        return self._drivers.get(environment, self.process)

    def hosts_of(self, environment: str) -> Mapping[str, Place]:
        return self._hosts.get(environment) or just_here(environment)

    def units_of(self, environment: str) -> Hosts:
        """The hosts of one with the driver systemd, which may be this machine; of any other nothing."""
        return self._hosts.get(environment, {})

    async def meet(self, environments: Collection[str]) -> None:
        """Be connected to the hosts of these, where that takes no longer than MEET_S: of a host with a name only the
        address is not known before."""
        hosts = [host for name in environments for host in self._hosts.get(name, {}).values()]
        if not hosts:
            return
        meeting = [asyncio.ensure_future(host.connect()) for host in hosts]
        _, late = await asyncio.wait(meeting, timeout=MEET_S)
        for task in late:
            task.cancel()
        await asyncio.gather(*meeting, return_exceptions=True)  # who is not there is asked again by the monitor

    async def close(self) -> None:
        """The manager leaves; what runs on the hosts stays."""
        for hosts in self._hosts.values():
            for host in hosts.values():
                await host.close()

    def _make_hosts(self, environment: Environment) -> Hosts:
        # Only where some environment has hosts: what reaches them costs time and memory.
        from longshore.hosts import make_hosts

        return make_hosts(environment, self._manager_id, self._epoch, self._fence)
