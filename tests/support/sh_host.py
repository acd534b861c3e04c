"""A host that is a directory: its scripts are run by the real /bin/sh on this machine, and its connection can be cut.

As fast as pipes are. What SshHost and LocalHost add (the guard, sudo, D-Bus) has its tests beside those.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from longshore.hosts.base import Done, Facts, HostUnreachable, ScriptFailed

ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}


@dataclass(frozen=True)
class Cut:
    """When the connection is lost. after_input: bytes of input of that script that still arrive; None: all of them, and
    the script comes to its end, but nobody hears of it. script: which of those from now on, from 0."""

    script: int
    after_input: int | None = None


class ShHost:
    labels: Mapping[str, str] = {}
    address, listen = "127.0.0.1", "127.0.0.1"
    scope: Literal["system", "user"] = "system"

    def __init__(self, home: Path, name: str = "web1", prefix: tuple[str, ...] = ()) -> None:
        """prefix: of the command line that starts a shell, such as that of unshare"""
        self.name, self.home, self._prefix = name, home, prefix
        self.state = self.units = PurePosixPath(home)
        self.reachable = True
        self.lost_at: float | None = None
        #: bytes of input that have arrived, and of everything that was sent: scripts and arguments, too
        self.input_bytes = self.sent_bytes = 0
        self.scripts = 0
        #: whether waiting for a lost connection helps
        self.comes_back = True
        self._cuts: list[Cut] = []

    def cut(self, *cuts: Cut) -> None:
        self._cuts = [Cut(self.scripts + cut.script, cut.after_input) for cut in cuts]

    async def connect(self) -> Facts:
        home = PurePosixPath(self.home)
        return Facts(os.geteuid(), "root", home, 0, "boot", frozenset())

    async def run(
        self,
        script: str,
        *arguments: str,
        input: bytes | AsyncIterator[bytes] = b"",
        timeout_s: float = 30.0,
        check: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> Done:
        cut = next((cut for cut in self._cuts if cut.script == self.scripts), None)
        self.scripts += 1
        self.sent_bytes += len(script.encode()) + sum(len(os.fsencode(each)) + 1 for each in arguments)
        process = await asyncio.create_subprocess_exec(
            *(*self._prefix, "/bin/sh", "-c", "umask 022; " + script, "sh"),
            *map(os.fsencode, arguments),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            cwd=self.home,
            env={**ENVIRONMENT, "HOME": str(self.home), **(environment or {})},
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(timeout_s):
                done = await self._fed(process, input, cut)
        except TimeoutError:
            raise HostUnreachable(self.name, f"host {self.name}: a script did not end in time") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            process._transport.close()  # type: ignore[attr-defined]
        if cut is not None:
            raise self._lost()
        if check and done.code:
            raise ScriptFailed(self.name, f"host {self.name}: {done.stderr.decode(errors='replace')}", done)
        return done

    async def _fed(self, process: Process, input: bytes | AsyncIterator[bytes], cut: Cut | None) -> Done:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        reading = asyncio.gather(process.stdout.read(), process.stderr.read(), process.wait())
        try:
            left = cut.after_input if cut is not None else None
            async for block in _blocks(input):
                part = block if left is None else block[:left]
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    process.stdin.write(part)
                    await process.stdin.drain()
                self.input_bytes += len(part)
                self.sent_bytes += len(part)
                if left is not None:
                    left -= len(part)
                    if not left:
                        break
            # As with a real one, what is lost ends the input there.
            process.stdin.close()
            stdout, stderr, code = await reading
            return Done(code, stdout, stderr)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    def _lost(self) -> HostUnreachable:
        return HostUnreachable(self.name, f"host {self.name}: the connection was lost", passing=self.comes_back)

    def watch(self, changed: Any) -> Any:
        return lambda: None

    def lines(self, script: str, *arguments: str) -> Any:
        raise NotImplementedError("files need no lines")

    async def bus(self) -> Any:
        raise NotImplementedError("files need no bus")

    async def close(self) -> None:
        pass


async def _blocks(input: bytes | AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if isinstance(input, bytes):
        yield input
        return
    async for block in input:
        yield block
