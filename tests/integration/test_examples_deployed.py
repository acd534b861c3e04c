"""Each example, deployed from its own deploy file by a real manager, and a second version after it."""

import shutil
import tomllib
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from longshore.demo.load import Load, Mix
from longshore.demo.stage import open_stage
from longshore.demo.wire import Connection
from support.backends import free_port

#: GETs alone: not every example takes a POST
GETS = Mix(connections=4, post_every=10**9, websockets=0, streams=0, slow=0, pause_s=0.005)

EXAMPLES = Path(__file__).parents[2] / "examples"


def spec_of(example: str, version: str, port: int) -> dict[str, Any]:
    """The deploy file as `longshore deploy -f` reads it, but for the public port and the pauses of the canary."""
    file = EXAMPLES / example / "longshore.toml"
    spec = tomllib.loads(file.read_text())
    spec |= {"version": version, "artifact_path": str(file.parent / spec["artifact_path"])}
    if "health_check_url" in spec:
        spec["health_check_url"] = f"http://127.0.0.1:{port}/health"
    if "canary" in spec:
        spec["canary"]["steps"] = [{"weight": 50, "pause": "1s"}, {"weight": 100, "pause": "1s"}]
    return spec


@pytest.mark.parametrize(
    "example",
    [
        "python-shop",
        pytest.param("node-hello", marks=pytest.mark.skipif(not shutil.which("node"), reason="needs node on the PATH")),
        "shell-worker",
        "static-site",
    ],
)
async def test_an_example_is_deployed_upgraded_and_rolled_back(example: str) -> None:
    port = free_port()
    async with open_stage() as stage:
        for version in ("1.0.0", "1.1.0"):
            spec = spec_of(example, version, port)
            await deploy(stage.client, spec, port)
            await serves(stage.client, spec, port)
        await stage.client.rollback(spec["name"])
        await serves(stage.client, spec | {"version": "1.0.0"}, port)


async def deploy(client: Any, spec: dict[str, Any], port: int) -> None:
    """A canary is judged by the requests it answers, so it is sent some."""
    async with AsyncExitStack() as stack:
        if "canary" in spec and spec["version"] != "1.0.0":
            await stack.enter_async_context(Load("127.0.0.1", port, GETS))
        await client.deploy(spec)


async def serves(client: Any, spec: dict[str, Any], port: int) -> None:
    status = await client.get(spec["name"])
    assert (status.version, status.state, status.health) == (spec["version"], "healthy", "healthy")
    if "health_check_url" in spec:
        connection = Connection("127.0.0.1", port)
        assert spec["version"].encode() in (await connection.request("GET", "/")).body
        connection.close()
