"""The files of one environment: written for a balancer, which is then told to read them.

forget that it was read ──► write ──► reload ──► remember that it was read
                               └── reload fails ──► the old file back ──► reload

A record of what the balancer has read outlives the manager. It is gone before a file changes and back once the balancer
has taken it, so whoever is killed in between leaves a file that the next one has read again.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from longshore.concurrency import to_its_end
from longshore.disk import make_private_directory, sync_path, write_durably
from longshore.drivers.base import DriverError, Fingerprint
from longshore.durations import format_duration
from longshore.fence import Fence, unfenced
from longshore.proc import run_shell
from longshore.routers.base import RouterError, Traffic
from longshore.routers.endpoints import FORMATS
from longshore.routers.endpoints.base import MARK


@dataclass(frozen=True, slots=True)
class Published:
    """What becomes of the endpoints of an environment.

    file       where they are written; {name} stands for the deployment
    format     key in FORMATS
    reload     shell line that has the balancer read it; "": it does so by itself
    timeout_s  bound on that
    """

    file: str
    format: str
    reload: str = ""
    timeout_s: float = 30.0
    #: the environment of `reload`, besides what says which file it is for
    variables: Mapping[str, str] = field(default_factory=dict)

    def path(self, name: str) -> Path:
        return Path(self.file.replace("{name}", name))


class EndpointFiles:
    """records: a directory of their own for records, made if it is missing"""

    def __init__(self, published: Published, records: Path, fence: Fence = unfenced) -> None:
        self._published, self._records, self._fence = published, records, fence
        # One after the other: a balancer reads all its files, and one that it refuses must not fail for the others.
        self._lock = asyncio.Lock()
        try:
            make_private_directory(records)
        except OSError as error:
            raise RouterError(f"the directory {records} cannot be used: {error.strerror or error}") from error

    def fingerprint(self) -> Fingerprint:
        published = self._published
        directory = published.path("{name}").parent
        if "{name}" not in str(directory):
            if not directory.is_dir():
                return Fingerprint(False, f"there is no directory {directory} for its files: make it")
            if not os.access(directory, os.W_OK | os.X_OK):
                return Fingerprint(False, f"the manager may not write in {directory}: let it")
        told = f", and runs `{published.reload}`" if published.reload else ""
        return Fingerprint(True, f"writes {published.file} for {published.format}{told}")

    async def publish(self, name: str, traffic: Traffic | None) -> bool:
        """The balancer has read a file with this traffic (None: nobody serves). False: that was so before.

        Raises RouterError where the file cannot be written, or is somebody else's, or the balancer does not take it:
        then the file is again as it was.
        """
        wanted = FORMATS[self._published.format](name, traffic)
        async with self._lock:
            if await asyncio.to_thread(self._is_read, name, wanted):
                return False
            before = await asyncio.to_thread(self._current, name)
            await self._write(name, wanted)
            problem = await self._reload(name)
            if problem is None:
                await self._remember(name, wanted)
                return True
            if before == wanted:
                raise RouterError(problem)
            await self._write(name, before)
            again = await self._reload(name)
            if again is None:
                if before is not None:
                    await self._remember(name, before)
                raise RouterError(f"{problem}. {self._published.path(name)} is again as it was, and was read")
            either = "" if again == problem else f": {again}"
            raise RouterError(
                f"{problem}. {self._published.path(name)} is again as it was, but that cannot be read either{either}"
            )

    async def holds(self, name: str, traffic: Traffic) -> bool:
        """Whether the file is as this traffic wants it, and that was read."""
        wanted = FORMATS[self._published.format](name, traffic)
        return await asyncio.to_thread(self._is_read, name, wanted)

    def known(self) -> list[str]:
        """The deployments that a file was ever written for, and not given up."""
        return sorted(path.stem for path in self._records.glob("*.written"))

    async def give_up(self, name: str) -> None:
        """A file that lists nobody is left, since the balancer's own configuration may name it; it is not ours any
        more. Raises RouterError."""
        if name in await asyncio.to_thread(self.known):
            await self.publish(name, None)
            self._fence()
            await to_its_end(self._forget, name, everything=True)

    # --- private

    def _record(self, name: str) -> Path:
        return self._records / f"{name}.read"

    def _is_read(self, name: str, wanted: str) -> bool:
        try:
            return self._current(name) == wanted and self._record(name).read_text("utf-8") == self._digest(name, wanted)
        except OSError:
            return False

    def _digest(self, name: str, content: str) -> str:
        """Another path, or another command, has to be read anew."""
        said = "\0".join((str(self._published.path(name)), self._published.reload, content))
        return hashlib.sha256(said.encode()).hexdigest()

    def _current(self, name: str) -> str | None:
        """What the file holds; None: there is none. Raises RouterError for what is not ours, or cannot be read."""
        path = self._published.path(name)
        try:
            text = path.read_text("utf-8", "replace")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RouterError(f"{path} cannot be read: {error.strerror or error}") from error
        if text.strip() and MARK not in text[:300]:
            raise RouterError(
                f"{path} is there, and was not written by Longshore: move it away, or name another file for the "
                "endpoints of its environment"
            )
        return text

    async def _write(self, name: str, content: str | None) -> None:
        self._fence()
        await to_its_end(self._put, name, content)

    def _put(self, name: str, content: str | None) -> None:
        path = self._published.path(name)
        try:
            self._forget(name)
            write_durably(self._records / f"{name}.written", str(path))
            if content is not None:
                write_durably(path, content)
            elif path.exists():
                path.unlink()
                sync_path(path.parent)
        except OSError as error:
            why = f"there is no directory {path.parent}" if not path.parent.is_dir() else error.strerror or str(error)
            raise RouterError(f"{path} cannot be written: {why}") from error

    def _forget(self, name: str, *, everything: bool = False) -> None:
        for record in (self._record(name), *([self._records / f"{name}.written"] if everything else [])):
            if record.exists():
                record.unlink()
                sync_path(self._records)

    async def _remember(self, name: str, content: str) -> None:
        self._fence()
        try:
            await to_its_end(write_durably, self._record(name), self._digest(name, content))
        except OSError as error:
            raise RouterError(f"{self._record(name)} cannot be written: {error.strerror or error}") from error

    async def _reload(self, name: str) -> str | None:
        """Run the command; why that failed, with what it said, None where it did not."""
        published = self._published
        if not published.reload:
            return None
        self._fence()
        variables = {
            **published.variables,
            "DEPLOYMENT_NAME": name,
            "ENDPOINTS_FILE": str(published.path(name)),
        }
        try:
            result = await run_shell(published.reload, cwd=Path("/"), env=variables, timeout_s=published.timeout_s)
        except DriverError as error:
            return f"the reload command `{published.reload}` cannot be run: {error}"
        if result.ok:
            return None
        ending = (
            f"did not end within {format_duration(published.timeout_s)} and was killed"
            if result.timed_out
            else f"was killed by signal {-result.exit_code}"
            if result.exit_code is not None and result.exit_code < 0
            else f"exited with code {result.exit_code}"
        )
        return f"the reload command `{published.reload}` {ending}: {result.tail.strip() or 'it printed nothing'}"
