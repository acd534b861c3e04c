"""This machine, asked as any other one is, but by pipes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path, PurePosixPath

from longshore.fence import Fence, unfenced
from longshore.hosts import facts, guard
from longshore.hosts.base import HERE, Facts, HostUnreachable
from longshore.hosts.guard import Scope
from longshore.hosts.sessions import END_S, HostWithSessions, Session


class LocalHost(HostWithSessions):
    """The manager's own machine. scope "system" needs a manager that is run by root."""

    listen = "127.0.0.1"

    def __init__(self, scope: Scope, manager_id: str, epoch: int, fence: Fence = unfenced, *, name: str = HERE) -> None:
        super().__init__(name, scope, manager_id, epoch, fence)
        self.labels: Mapping[str, str] = {}
        self._shown = self._pass(secrets.token_hex(4), 1)
        self._home = PurePosixPath(Path.home())
        self._facts: Facts | None = None
        self._asking = asyncio.Lock()

    @property
    def title(self) -> str:
        return "this machine"

    @property
    def address(self) -> str:
        return "127.0.0.1"

    async def connect(self) -> Facts:
        async with self._asking:
            if self._facts is None:
                if self.scope == "system" and os.geteuid() != 0:
                    self._found(False)
                    raise HostUnreachable(
                        self.name,
                        "units of this machine need a manager that is run by root: run it so, or choose "
                        'scope = "user" for the environment',
                    )
                try:
                    done = await self.run(facts.SCRIPT, *facts.TOOLS)
                except HostUnreachable:
                    self._found(False)
                    raise
                self._facts = facts.parse_facts(done.stdout)
                self._found(True)
            return self._facts

    @asynccontextmanager
    async def _open(
        self, script: str, arguments: tuple[str, ...], environment: Mapping[str, str], *, follows: bool
    ) -> AsyncGenerator[Session]:
        text = guard.program(self._shown, script, arguments, environment)
        keep = {key: os.environ[key] for key in ("XDG_RUNTIME_DIR",) if key in os.environ}
        process = await asyncio.create_subprocess_exec(
            *("/bin/sh", "-c", guard.BOOT),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            cwd=self._home if os.access(self._home, os.X_OK) else "/",
            env={"HOME": str(self._home), "PATH": "/usr/bin:/bin", **keep},
            start_new_session=True,
        )
        session = _Child(process)
        try:
            session.stdin.write(text)
            yield session
        finally:
            await session.end()

    def _not_begun(self, code: int | None, stderr: bytes) -> HostUnreachable:
        said = stderr.decode(errors="replace").strip() or f"/bin/sh exited with status {code}"
        return HostUnreachable(self.name, f"no script can be run on this machine: {said}")

    @contextmanager
    def _telling(self) -> Iterator[None]:
        yield


class _Child(Session):
    def __init__(self, process: Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self.stdin, self.stdout, self.stderr = process.stdin, process.stdout, process.stderr
        self._process, self._stdin = process, process.stdin

    async def ended(self) -> int:
        return await self._process.wait()

    async def end(self) -> None:
        # Its own session, so its group is its pid's for as long as it is not reaped, and ours to kill.
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._stdin.close()
        # What it has left in the background may hold the pipes; it is not waited for.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_S):
                await asyncio.shield(self._process.wait())
        self._process._transport.close()  # type: ignore[attr-defined]
