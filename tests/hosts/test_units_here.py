"""Driver systemd on the manager's own machine, without SSH: run on a real host, with this Longshore installed on it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import longshore
from support.hosts import HostsMissing
from support.systemd_host import Host, open_host

pytestmark = pytest.mark.slow

#: what a manager does there: start, look, stop
COURSE = """
import asyncio, json, os, sys
from pathlib import Path
from longshore.drivers import DRIVERS
from longshore.drivers.base import Launch
from longshore.hosts import LocalHost

async def main(scope, directory):
    host = LocalHost(scope, "manager", 1)
    driver = DRIVERS["systemd"]("manager", hosts={"": host})
    launch = Launch(
        deployment="shop", instance="shop-1-0", launch_id="abc", command=("sleep", "600"), directory=Path(directory),
        environment={}, log=Path("/unused"), service="shop",
    )
    usable = (await driver.fingerprint()).usable
    handle = await driver.start(launch, lambda handle: None)
    running = await driver.inspect(handle)
    ended = asyncio.create_task(driver.exited(handle))
    stopped = await driver.stop(handle, 5)
    result = [usable, running.state, (await ended).code, stopped.exit.code, dict(await driver.survey())]
    await host.close()
    return result

print(json.dumps(asyncio.run(main(*sys.argv[1:]))))
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    try:
        with open_host(tmp_path_factory.mktemp("here")) as host:
            yield host
    except HostsMissing as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(("scope", "user"), [("system", "root"), ("user", "deploy")])
def test_an_instance_is_started_watched_and_stopped_here(host: Host, scope: str, user: str) -> None:
    host.path("/srv/course.py").write_text(COURSE)
    host.shell("chmod -R a+rX /srv; chmod a+x /root")
    place = "/srv" if scope == "system" else "/home/deploy"
    said = host.ask(
        *("runuser", "-u", user, "--", "env", "XDG_RUNTIME_DIR=/run/user/1000" if user != "root" else "A=1"),
        *(f"PYTHONPATH={Path(longshore.__file__).parents[1]}", sys.executable, "/srv/course.py", scope, place),
    )
    assert json.loads(said) == [True, "running", -15, -15, {}]
