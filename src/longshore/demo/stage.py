"""Everything the demo and the benchmarks need around a deployment, set up and taken down again."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Set
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from longshore.client import AsyncLongshore, ClientError, DeploymentInProgress, DeploymentNotFound
from longshore.demo.manager import Manager, ManagerFailed
from longshore.ports import PortRange

APP = Path(__file__).with_name("app.py")
NAME = "shop"
#: Clear of what the system gives to whoever asks for any port, and of what instances are given: while the router that
#: has one of these is away, nobody gets it by chance.
PUBLIC_PORTS = PortRange(10_000, 19_999)


class Stage:
    """A manager in a temporary directory, and artifacts of the demo's application for it."""

    def __init__(self, directory: Path, settings: Mapping[str, str] | None = None) -> None:
        self.directory = directory
        self.manager = Manager(directory / "data", settings)
        self.port = free_port()
        self._client: AsyncLongshore | None = None

    @property
    def client(self) -> AsyncLongshore:
        """Speaks to the manager that runs now."""
        assert self._client is not None
        return self._client

    async def start_manager(self) -> float:
        """Start it (again); returns the seconds until it was ready."""
        if self._client is not None:
            await self._client.close()
        seconds = await self.manager.start()
        self._client = AsyncLongshore(data_dir=self.manager.data_dir)
        return seconds

    def artifact(self, version: str, *, broken: bool = False) -> Path:
        """A directory with the application in it; a broken one never becomes healthy."""
        directory = self.directory / "artifacts" / version
        directory.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(APP, directory / "app.py")
        # The content of each version differs, as that of real versions does.
        (directory / "VERSION").write_text(version + "\n")
        if broken:
            (directory / "BROKEN").touch()
        return directory

    def spec(self, version: str, strategy: str, *, broken: bool = False, **fields: Any) -> dict[str, Any]:
        """A whole deploy request; `fields` override."""
        return {
            "name": NAME,
            "version": version,
            "strategy": strategy,
            "artifact_path": str(self.artifact(version, broken=broken)),
            "command": [sys.executable, "app.py"],
            "health_check_url": f"http://127.0.0.1:{self.port}/health",
            "replicas": 3,
            "health_check": {"interval": "1s", "timeout": "1s", "deadline": "15s", "healthy_threshold": 1},
            "rolling": {"max_surge": 1, "max_unavailable": 0},
            "canary": {
                "steps": [{"weight": w, "pause": "1s"} for w in (5, 25, 50, 100)],
                "analysis": {"on_inconclusive": "continue"},
            },
            "blue_green": {"keep_old": "60s"},
            "drain_timeout": "20s",
            "stop_timeout": "5s",
            **fields,
        }

    async def close(self) -> None:
        """Take down the deployments, the manager and the router, in that order. Raises ManagerFailed."""
        try:
            if self._client is not None:
                if not self.manager.alive:
                    await self.start_manager()
                await self._delete_all()
        finally:
            if self._client is not None:
                await self._client.close()
            try:
                await self.manager.stop()
            finally:
                await self._stop_router()

    async def _delete_all(self) -> None:
        for row in [row async for row in self.client.list_all()]:
            while True:
                try:
                    await self._abort(row.name)
                    # The reason is for an environment where changes need an approval.
                    await self.client.delete(row.name, override="everything is taken down")
                except DeploymentInProgress:
                    continue  # what waited for its turn has begun
                except DeploymentNotFound:
                    pass
                break

    async def _abort(self, name: str) -> None:
        """A deployment whose rollout is in progress cannot be deleted: have that undone first."""
        if (rollout := (await self.client.get(name)).rollout_id) is not None:
            # Past its commit a rollout is only finished, and says so.
            with suppress(ClientError):
                await self.client.abort(name, rollout, reason="everything is taken down")
            await self.client.wait(name, rollout, timeout=60)

    async def _stop_router(self) -> None:
        directory = self.manager.data_dir / "envoy"
        if not directory.exists():
            return
        # Imported only here: it is the one part of the server that a client may want to end.
        from longshore.routers.envoy.router import EnvoyRouter

        await EnvoyRouter(directory, on_event=lambda *_: None).shutdown()


@asynccontextmanager
async def open_stage(settings: Mapping[str, str] | None = None, kind: type[Stage] = Stage) -> AsyncIterator[Stage]:
    """A stage with its manager running. At the end all of it is gone, also after an error or Ctrl-C; the directory
    stays where the taking down failed, and the error names it."""
    # A short path: the router's socket lies below it, and those names are bounded.
    directory = Path(tempfile.mkdtemp(prefix="longshore-"))
    stage = kind(directory, settings)
    stage.manager.data_dir.mkdir()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(_take_down, stage)
        await stage.start_manager()
        yield stage


async def _take_down(stage: Stage) -> None:
    closing = asyncio.ensure_future(stage.close())
    try:
        await asyncio.shield(closing)
    except asyncio.CancelledError:
        await closing
        raise
    except (ManagerFailed, ClientError, OSError) as error:
        raise ManagerFailed(f"not everything was taken down; see {stage.directory}: {error}") from error
    await asyncio.to_thread(shutil.rmtree, stage.directory)


def free_port(taken: Set[int] = frozenset()) -> int:
    """A port for a deployment, where nobody listens at the moment. Raises DriverError where there is none."""
    return PUBLIC_PORTS.free(taken)
