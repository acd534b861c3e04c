"""What more hosts cost: ten real hosts against one of them, in the same run.

The hosts are those of tests/hosts/kit: full systemds in namespaces of this machine, reached by SSH. They share its
processors, which ten machines do not: one host alone has then many times the processor that each of ten has. So both
are measured twice: as it comes, and with the same share of a processor for each machine (the hosts, and the manager
with its router), little enough that ten hosts have theirs, too. The application is one that starts in milliseconds.
Needs root and what the kit needs; says so where it cannot run.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from harness import Figure, main

from longshore.demo.stage import NAME

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.far_site import open_far_site  # type: ignore[import-not-found]
from support.hosts import HostSet, open_hosts  # type: ignore[import-not-found]

HOSTS, ROUNDS = 10, 3
APPLICATION = """import _socket, os
listener = _socket.socket()
listener.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
listener.bind((os.environ["HOST"], int(os.environ["PORT"])))
listener.listen(64)
while True:
    connection = _socket.socket(fileno=listener._accept()[0])
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\\r\\ncontent-length: 0\\r\\nconnection: close\\r\\n\\r\\n")
    connection.close()
"""
#: times one host's: a deploy that changes nothing, and a rolling one with serial 25 %
NO_CHANGE_X, ROLLING_X = 3.0, 6.0


async def measure() -> list[Figure]:
    with (
        tempfile.TemporaryDirectory(dir="/var/tmp") as directory,
        open_hosts(Path(directory), HOSTS) as hosts,
        hosts.inside(),
    ):
        places = (Path(tempfile.mkdtemp(dir=directory)) for _ in range(4))
        single = replace(hosts, all=hosts.all[:1])
        shared = [await deploys(next(places), each) for each in (single, hosts)]
        processors = psutil.cpu_count() or 1
        share = processors / (HOSTS + 2)  # theirs, the manager's, and what asks it
        group = Path(hosts.kit("pace", f"{share:.3f}").strip())
        apart = [await deploys(next(places), each, group) for each in (single, hosts)]
    return [
        *figures(shared, f"{HOSTS + 1} machines share {processors} processors"),
        *figures(apart, f"each machine has {share:.2f} of a processor, one host as well as {HOSTS}"),
    ]


def figures(found: list[dict[str, float]], how: str) -> list[Figure]:
    one, ten = found
    note = f"median of {ROUNDS}; {how}"
    return [
        Figure("one host: a deploy that changes nothing", one["same"], "s", note=note),
        Figure(f"{HOSTS} hosts: the same", ten["same"], "s", note=note),
        Figure("ratio", ten["same"] / one["same"], "x", at_most=NO_CHANGE_X, note=how),
        Figure("one host: rolling, 1 instance", one["rolling"], "s", note=note),
        Figure(f"{HOSTS} hosts: rolling, 1 instance each, serial 25 %", ten["rolling"], "s", note=note),
        Figure("ratio", ten["rolling"] / one["rolling"], "x", at_most=ROLLING_X, note=how),
        Figure("one host: a rollback to what is still warm", one["rollback"], "s", note=note),
        Figure(f"{HOSTS} hosts: the same", ten["rollback"], "s", note=note),
    ]


async def deploys(directory: Path, hosts: HostSet, group: Path | None = None) -> dict[str, float]:
    """Seconds of a redeploy of what serves ("same"), of a rolling upgrade, and of a rollback to a set still warm
    ("rollback"). group: the cgroup that bounds the manager and its router as the hosts are bounded."""

    serial: dict[str, Any] = {"rolling": {"serial": "25%", "max_surge": "25%"}}
    # What a deploy does not say is as it was.
    at_once: dict[str, Any] = {"rolling": {"serial": "100%", "max_surge": "100%"}}
    found: dict[str, list[float]] = {"same": [], "rolling": [], "rollback": []}
    async with open_far_site(directory, hosts) as site:

        async def deploy(version: str, strategy: str = "rolling", **fields: Any) -> None:
            (site.artifact(version) / "small.py").write_text(APPLICATION)
            command = ["/usr/bin/python3", "-I", "-S", "small.py"]
            await site.client.deploy(site.spec(version, strategy, command=command, **fields), timeout=300)

        await deploy("1.0")
        if group is not None:
            for pid in (site.manager.pid, site.envoy().pid):
                (group / "cgroup.procs").write_text(str(pid))
        for number in range(2, 2 + ROUNDS):
            for what, fields in (("rolling", serial), ("same", at_once)):
                began = time.monotonic()
                await deploy(f"{number}.0", **fields)
                found[what].append(time.monotonic() - began)
        await deploy("green", "blue-green", blue_green={"keep_old": "10m"})
        for _ in range(ROUNDS):
            began = time.monotonic()
            await site.client.rollback(NAME, timeout=300)  # there and back again: the other set is warm each time
            found["rollback"].append(time.monotonic() - began)
    print(json.dumps({"hosts": len(hosts), **found}), file=sys.stderr)
    return {what: median(seconds) for what, seconds in found.items()}


if __name__ == "__main__":
    main(f"{HOSTS} hosts against one", measure)
