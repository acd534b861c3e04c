"""A real manager whose environment is real hosts: `async with open_far_site(tmp_path, hosts) as site: …`.

The manager, its clients and Envoy run on this machine, in the network of the hosts.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from longshore.client.results import Rollout
from support.hosts import Host, HostSet
from support.kills import SHORT
from support.manager import Site, _take_down, until

ENVIRONMENT = "production"
#: what is left of the site's deployment on a host: files, records of instances and hooks, units that systemd knows (of
#: instances and of hooks), processes. What the connections of a manager have there is none of it.
TRACES = r"""
ls -d /srv/shop /run/longshore-[0-9a-f]*-* 2> /dev/null
find /etc/systemd /run/systemd/transient '(' -name 'shop@*' -o -name 'longshore-*' ')' 2> /dev/null
find /var/lib/longshore-host -mindepth 1 ! -name '*.lock' ! -name '*.epoch' 2> /dev/null
systemctl list-units --all --plain --no-legend '*shop*' 'longshore-*'
{
  grep -lzsE '^(LONGSHORE_LAUNCH|DEPLOYMENT_ROLLOUT_ID)=' /proc/[0-9]*/environ
  find /proc/[0-9]*/cwd -maxdepth 0 -lname '/srv/shop*'
} 2> /dev/null | cut -d / -f 3 | sort -u | xargs -r ps -o pid=,args= -p
"""
#: processes of a manager's connections
SESSIONS = "grep -lzs '^LONGSHORE_SESSION=' /proc/[0-9]*/environ"
#: seconds that those may take to end after the manager
SESSIONS_S = 15.0


class FarSite(Site):
    """As a Site, on hosts.

    keepalive   silence after which a host is asked for, three times of which are a loss
    machine     further fields of each host in the configuration, such as {"user": "deploy"}
    """

    def __init__(
        self,
        directory: Path,
        hosts: HostSet,
        *,
        keepalive: str = "1s",
        machine: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> None:
        machine = machine or {}
        environment = {
            "driver": "systemd",
            "hosts": [json.loads(host.settings(**machine).model_dump_json(exclude_defaults=True)) for host in hosts],
            "ssh": {
                "known_hosts": str(hosts[0].known_hosts),
                "keepalive": keepalive,
                "connect_timeout": "4s",
            },
            **more,
        }
        super().__init__(directory, len(hosts), {"LONGSHORE_ENVIRONMENTS": json.dumps({ENVIRONMENT: environment})})
        self.hosts = hosts

    def spec(self, version: str, strategy: str, *, broken: bool = False, **fields: Any) -> dict[str, Any]:
        given = {
            **SHORT,
            "environment": ENVIRONMENT,
            "command": ["/usr/bin/python3", "polite.py"],
            "blue_green": {"keep_old": "1s"},
            **fields,
        }
        return super().spec(version, strategy, broken=broken, **given)

    async def deploy(self, version: str, strategy: str, **fields: Any) -> Rollout:
        """As on one machine, with more time: several systemds share this one's processors."""
        return await self.client.deploy(self.spec(version, strategy, **fields), timeout=240)

    def running(self, host: Host) -> list[str]:
        """Units of the deployment that run on a host."""
        said = host.shell("systemctl list-units --plain --no-legend --state=active 'shop@*'", expect=None)
        return [line.split()[0] for line in said.splitlines() if line.strip()]

    def current(self, host: Host) -> str:
        try:
            return str(host.path("/srv/shop/current").readlink()).removeprefix("releases/")
        except OSError:
            return ""

    def kept(self, host: Host) -> set[str]:
        return set(host.shell("ls /srv/shop/releases 2>/dev/null || true").split())

    def traces(self, host: Host) -> str:
        """Whatever is left of the deployment on a host; "" for nothing."""
        return host.shell(TRACES, expect=None).strip()

    async def answering(self, count: int = 12) -> Counter[str]:
        return await self.answers(count)

    async def settled_on(self, version: str, *hosts: Host, bound_s: float = 90.0) -> None:
        """Each of these hosts runs one instance of that version and nothing else, and `current` names it."""

        def found(host: Host) -> tuple[list[str], str]:
            return self.running(host), self.current(host)

        wrong = {}
        try:
            async with asyncio.timeout(bound_s):
                while True:
                    all_found = await asyncio.gather(*(asyncio.to_thread(found, host) for host in hosts))
                    wrong = {
                        host.name: (running, current)
                        for host, (running, current) in zip(hosts, all_found, strict=True)
                        if len(running) != 1 or current != version
                    }
                    if not wrong:
                        break
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"{version} alone is not on all hosts after {bound_s:g} s: {wrong}") from None
        assert set(await self.answers(8)) == {version}

    async def failed(self, version: str, strategy: str, **fields: Any) -> Rollout:
        """A deploy that is not to succeed, as it ended."""
        began = await self.begin(version, strategy, **fields)
        assert began is not None
        return await self.until_over(150.0)


@asynccontextmanager
async def open_far_site(directory: Path, hosts: HostSet, **more: Any) -> AsyncIterator[FarSite]:
    """At its end everything is gone, on the hosts too."""
    site = FarSite(directory, hosts, **more)
    site.data.mkdir(mode=0o700)
    try:
        await site.start_manager()
        yield site
    except BaseException as error:
        error.add_note(f"the manager's log ends:\n{site.manager.tail(60)}")
        await _take_down(site, report=False)
        raise
    await _take_down(site, report=True)
    left = {host.name: site.traces(host) for host in hosts}
    assert not any(left.values()), f"left over on hosts: {left}"
    for host in hosts:
        await until(lambda host=host: not host.shell(SESSIONS, expect=None), f"no session on {host.name}", SESSIONS_S)
