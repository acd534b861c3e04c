"""The examples do what their READMEs say, without a manager: as processes, and as requests."""

import asyncio
import os
import shutil
import signal
import sys
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from longshore.api.wire_request import parse_request
from longshore.demo.wire import Connection, Failed
from support.backends import free_port

EXAMPLES = Path(__file__).parents[2] / "examples"
DEPLOY_FILES = sorted(EXAMPLES.glob("*/longshore.toml"))


@asynccontextmanager
async def running(*command: str, directory: Path, port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """The example as a process of its own; ended, at the latest, when the block ends."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=directory,
        env={"PATH": os.environ["PATH"], "PORT": str(port), "RELEASE_VERSION": "1.2.3", "INTERVAL": "30"},
        stdout=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        # The whole session: the worker's `sleep` outlives the worker.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def get(port: int, path: str, *, method: str = "GET", body: bytes | None = None) -> bytes:
    """The answer's body, once somebody listens; bounded."""
    connection = Connection("127.0.0.1", port)
    async with asyncio.timeout(10):
        while True:
            try:
                return (await connection.request(method, path, body)).body
            except Failed:
                await asyncio.sleep(0.02)
            finally:
                connection.close()


@asynccontextmanager
async def shop() -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    port = free_port()
    directory = EXAMPLES / "python-shop/app"
    async with running(sys.executable, "shop.py", directory=directory, port=port) as process:
        await get(port, "/health")
        yield process, port


@pytest.mark.parametrize("path", DEPLOY_FILES, ids=lambda path: path.parent.name)
def test_a_deploy_file_is_a_request_without_problems(path: Path) -> None:
    assert parse_request(tomllib.loads(path.read_text())).issues == ()


@pytest.mark.parametrize("path", DEPLOY_FILES, ids=lambda path: path.parent.name)
def test_a_deploy_file_names_an_artifact_that_is_there(path: Path) -> None:
    assert (path.parent / tomllib.loads(path.read_text())["artifact_path"]).is_dir()


def test_every_example_is_in_the_table_of_examples() -> None:
    table = (EXAMPLES / "README.md").read_text()
    assert all(f"({path.parent.name}/)" in table for path in DEPLOY_FILES)


async def test_the_shop_says_its_version() -> None:
    async with shop() as (_, port):
        assert b"1.2.3" in await get(port, "/")


async def test_the_shop_echoes_a_post() -> None:
    async with shop() as (_, port):
        assert await get(port, "/echo", method="POST", body=b"tea") == b"tea"


async def test_the_shop_echoes_over_a_websocket() -> None:
    async with shop() as (_, port), connect(f"ws://127.0.0.1:{port}/ws", proxy=None, compression=None) as socket:
        for message in ("tea", "t" * 1000):
            await socket.send(message)
            assert await socket.recv() == message


async def test_the_shop_finishes_what_it_has_when_it_is_told_to_stop() -> None:
    async with shop() as (process, port):
        connection = Connection("127.0.0.1", port)
        await connection.request("GET", "/health")  # so that the server has accepted it, whatever else it has to do
        slow = asyncio.ensure_future(connection.request("GET", "/slow?s=1"))
        await get(port, "/health")
        process.send_signal(signal.SIGTERM)
        assert (await slow).body == b"at last\n"
        connection.close()
        async with asyncio.timeout(5):
            assert await process.wait() == 0


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node on the PATH")
async def test_the_node_example_answers_and_ends_when_it_is_told_to() -> None:
    port = free_port()
    async with running("node", "hello.js", directory=EXAMPLES / "node-hello/app", port=port) as process:
        assert await get(port, "/health") == b"ok\n"
        assert b"1.2.3" in await get(port, "/")
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(5):
            assert await process.wait() == 0


async def test_the_worker_finishes_its_job_and_ends_when_it_is_told_to(tmp_path: Path) -> None:
    directory = shutil.copytree(EXAMPLES / "shell-worker/app", tmp_path / "app")
    async with running("./worker", directory=directory, port=0) as process, asyncio.timeout(10):
        while not (directory / "journal/jobs.log").exists():  # noqa: ASYNC110 - a file of another process
            await asyncio.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
