"""This machine as a host: its systemd, and that of a user, asked by a Longshore that runs on it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import longshore
from support.systemd_host import Host, HostsMissing, open_host

pytestmark = pytest.mark.slow

ASKING = """
import asyncio, json, sys
from dbus_fast import Message
from longshore.errors import LeaseLost
from longshore.hosts import HERE, make_hosts
from longshore.settings import Environment

def ask(member):
    return Message(
        destination="org.freedesktop.systemd1", path="/org/freedesktop/systemd1",
        interface="org.freedesktop.systemd1.Manager", member=member,
    )

async def main(scope):
    old, new = (make_hosts(Environment(driver="systemd", scope=scope), "m1", epoch)[HERE] for epoch in (1, 2))
    facts = await old.connect()
    bus = await old.bus()
    units = await bus.call(ask("ListUnits"))
    same = await old.bus() is bus
    await new.connect()
    try:
        await (await old.bus()).call(ask("Reload"))
        refused = False
    except LeaseLost:
        refused = True
    print(json.dumps({
        "systemd": facts.systemd, "units": [unit[0] for unit in units.body[0]], "same": same, "refused": refused,
        "connected": bus.connected, "state": str(old.state),
    }))
    await old.close()
    await new.close()

asyncio.run(main(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    try:
        with open_host(tmp_path_factory.mktemp("local")) as host:
            host.ask("loginctl", "enable-linger", "root")
            host.shell("while ! systemctl --user -M root@ is-active basic.target; do sleep 0.05; done")
            yield host
    except HostsMissing as error:
        pytest.skip(str(error))


def asked(host: Host, scope: str) -> Any:
    source = Path(longshore.__file__).parents[1]
    environment = ("HOME=/root", "XDG_RUNTIME_DIR=/run/user/0", f"PYTHONPATH={source}")
    return json.loads(host.ask("env", *environment, sys.executable, "-W", "error", "-c", ASKING, scope))


@pytest.mark.parametrize(
    ("scope", "unit", "state"),
    [
        ("system", "ssh.service", "/var/lib/longshore-host"),
        ("user", "basic.target", "/root/.local/state/longshore-host"),
    ],
)
def test_its_systemd_is_asked_until_another_manager_takes_over(host: Host, scope: str, unit: str, state: str) -> None:
    said = asked(host, scope)
    assert said["systemd"] >= 247
    assert unit in said["units"]
    assert ("ssh.service" in said["units"]) is (scope == "system")
    assert said["same"]
    assert said["refused"]
    assert not said["connected"]
    assert said["state"] == state
    host.shell("! pgrep -f '[s]ystemd-stdio-bridge'")
