"""A working directory on another host: what files/working_directory.py is on this one, by scripts that run there."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import PurePosixPath
from typing import NamedTuple

from longshore.disk import FilesError, remedy_in
from longshore.files.far import scripts
from longshore.files.far.manifest import Manifest, parse_listing
from longshore.files.far.sending import STALL_S, WORK_BYTES_S, WORK_S, Meter, Progress, parcel_of, spoilt
from longshore.files.far.shipment import Shipment
from longshore.files.far.standing import Standing, parse_standing, record_of
from longshore.files.far.stock import Stock
from longshore.files.layout import VERSION
from longshore.files.records import First
from longshore.hosts.attempt import attempt
from longshore.hosts.base import HERE, Done, Host, HostUnreachable, Input, ScriptFailed

#: seconds for what copies or removes whole releases there
COPY_S = 1800.0
#: seconds for everything else
SHORT_S = 60.0
#: what a host may need beside the files themselves: directories, lists, what is cut in blocks
SPARE_BYTES = 4 * 1024 * 1024


class Shipped(NamedTuple):
    """A release that stands on a host.

    sent_bytes   to get it there, lost attempts and all; 0: it was there
    size_bytes   of its files
    base         the release that it was made out of, where there was one
    """

    sent_bytes: int
    size_bytes: int
    base: str | None = None


class FarDirectory:
    """The working directory at `path` on a host. Holds no state but these two; one object for each rollout, or more.

    Everything may be repeated, and is repeated here after a lost connection, for as long as hosts.attempt waits.
    Raises FilesError, which names the host, for what its disk or the directory does not allow; HostUnreachable;
    LeaseLost.
    """

    def __init__(self, host: Host, path: PurePosixPath | str) -> None:
        self.host = host
        self.path = PurePosixPath(path)

    @property
    def title(self) -> str:
        return "this machine" if self.host.name == HERE else f"host {self.host.name}"

    # ------------------------------------------------------------------ how it stands, whose it is

    async def standing(self, shared_paths: Sequence[str] = ()) -> Standing:
        """How it stands there; shared_paths: what to look for in `shared`. Changes nothing."""
        if not self.path.is_absolute() or len(self.path.parts) < 2 or ".." in self.path.parts:
            raise FilesError(f"working_directory {str(self.path)!r} must be absolute and not the root directory")
        done = await self._do(scripts.LOOK, *shared_paths)
        return parse_standing(done.stdout, f"{self.title}: {self.path}")

    async def check(self) -> Standing:
        """How it stands, for /validate. Raises FilesError for what would keep it from being used; changes nothing."""
        standing = await self.standing()
        self._check(standing)
        return standing

    async def claim(self, owner: str) -> None:
        """Make `owner` its owner for good, as files.claim does; makes the layout."""
        if not owner.strip() or "\n" in owner:
            raise FilesError(f"the owner of a working directory is one line of text, not {owner!r}")
        await self._prepare(await self.standing(), owner.strip())

    async def disclaim(self, owner: str) -> None:
        """Give it up again; harmless where `owner` does not own it."""
        await self._do(scripts.DISCLAIM, owner.strip())

    async def holder(self) -> str | None:
        return (await self.standing()).holder

    # ------------------------------------------------------------------ releases

    async def ship(
        self,
        stock: Stock,
        version: str,
        shared_paths: Sequence[str] = (),
        user: str = "",
        progress: Progress | None = None,
        owner: str = "",
        replacing: bool = False,
    ) -> Shipped:
        """Make `releases/VERSION` there what it is in the stock, complete and verified, or not at all.

        shared_paths   of the release; what `shared` lacks of them begins there as it does in the manager's own
        user           whose the files are to be, by name; "" leaves them to whom Longshore is there
        progress       called while it sends
        owner          who claims the directory first, as claim() does; "" where that has been done
        replacing      one of other content is replaced even where `current` leads to it: then there is no such link
        One that stands already costs one short question. Raises what the class does; then nothing of it is there.
        """
        _check_version(version)
        paths = tuple(sorted(shared_paths))
        manifest = await stock.manifest(version)
        record = record_of(await stock.facts(version), manifest.digest)
        meter = Meter(progress)

        async def work() -> Shipped:
            avoid: frozenset[str] = frozenset()
            base = None
            # Out of another release; out of it again but for what somebody has changed there; whole.
            for may_copy in (True, True, False):
                standing = await self.standing(paths)
                if standing.first is None or (owner and standing.holder != owner):
                    await self._prepare(standing, owner)
                release = standing.releases.get(version)
                if release is not None and release.digest == manifest.digest:
                    return Shipped(meter.sent_bytes, manifest.size_bytes, base)
                if replacing and standing.current == version:
                    await self.set_current(None)
                if standing.staging:
                    # What a lost connection has left would be in the way of the disk's space.
                    await self.sweep()
                    standing = await self.standing(paths)
                base = await self._base(stock, version, standing) if may_copy else None
                shipment = await stock.shipment(version, base, avoid)
                found = await self._send(stock, version, shipment, base, paths, user, record, standing, meter)
                if found is None:
                    return Shipped(meter.sent_bytes, manifest.size_bytes, base)
                avoid |= spoilt(shipment, found)
            raise await self._never_right(stock, version)

        return await attempt(self.host, work)

    async def remove_release(self, version: str) -> None:
        """Delete a release; harmless if it is absent. Raises FilesError for the one `current` leads to."""
        _check_version(version)
        await self._do(scripts.REMOVE, version, bound_s=COPY_S)

    async def remove_all(self) -> None:
        """Remove what Longshore made there but for its claim. `shared` stays while it holds anything; so does whatever
        else is there. Harmless when done."""
        await self._do(scripts.REMOVE_ALL, bound_s=COPY_S)

    async def sweep(self) -> list[str]:
        """Delete what a crash or a lost connection left half made or half removed; returns its names."""
        words = os.fsdecode((await self._do(scripts.SWEEP, bound_s=COPY_S)).stdout).split("\0")
        return [name for what, name in zip(words[::2], words[1::2], strict=False) if what == "swept"]

    # ------------------------------------------------------------------ current

    async def current(self) -> str | None:
        """The version `current` leads to; None: there is no such link, or it leads elsewhere."""
        return (await self.standing()).current

    async def set_current(self, version: str | None) -> bool:
        """Make `current` lead to that release, atomically and durably; None removes a link to one.

        Returns whether it was not so already, as far as a lost connection lets that be known.
        """
        if version is not None:
            _check_version(version)
        return bool((await self._do(scripts.SET_CURRENT, version or "")).stdout)

    # ------------------------------------------------------------------ private

    def _check(self, standing: Standing) -> None:
        if not standing.is_directory:
            raise self._error(
                f"{standing.place!r} is not a directory: choose another working_directory or move it away"
            )
        if not standing.is_writable:
            raise self._error(f"{standing.place!r} is not writable: give the user it works as there write access")
        if standing.taken:
            places = ", ".join(repr(str(self.path / name)) for name in sorted(standing.taken))
            raise self._error(
                f"{places} is not Longshore's, perhaps another tool's: choose another working_directory or move it away"
            )

    async def _prepare(self, standing: Standing, owner: str = "") -> None:
        self._check(standing)
        first = "" if standing.first else json.dumps(asdict(First(standing.foreign_names())))
        await self._do(scripts.PREPARE, first, owner)

    async def _base(self, stock: Stock, version: str, standing: Standing) -> str | None:
        return await stock.base(version, {each: far.digest for each, far in standing.releases.items() if far.listed})

    async def _send(
        self,
        stock: Stock,
        version: str,
        shipment: Shipment,
        base: str | None,
        paths: tuple[str, ...],
        user: str,
        record: str,
        standing: Standing,
        meter: Meter,
    ) -> Manifest | None:
        """None: it stands there; else what has come out instead, and is gone again."""
        wanted = tuple(path for path in paths if path not in standing.shared)
        seeds = await stock.seeds(wanted)
        parcel = await asyncio.to_thread(
            parcel_of, shipment, lambda path: stock.place(version, path), seeds, stock.local.shared, wanted
        )
        need = shipment.manifest.size_bytes + seeds.size_bytes + SPARE_BYTES
        if need > standing.free_bytes:
            raise self._error(
                f"release {version} takes {need} bytes, but only {standing.free_bytes} are free at {standing.place!r}: "
                "free space there, or choose another working_directory"
            )
        release = stock.local.releases / version
        time = str(int((await asyncio.to_thread(release.stat)).st_mtime))
        arguments = (
            version,
            secrets.token_hex(4),
            base or "",
            user,
            record,
            shipment.manifest.digest,
            seeds.digest,
            time,
        )
        work_s = WORK_S + (need + parcel.size_bytes) / WORK_BYTES_S
        try:
            async with asyncio.timeout(STALL_S + work_s) as bound:
                stream = meter.measured(parcel, bound, work_s)
                done = await self._run(scripts.RECEIVE, *arguments, input=stream, bound_s=24 * 3600.0)
        except TimeoutError:
            raise HostUnreachable(
                self.host.name,
                f"{self.title}: release {version} was not there in time: {meter.sent_bytes} of {meter.total_bytes} "
                f"bytes were sent, and nothing more was taken for {STALL_S:g} s, or put together within {work_s:g} s",
            ) from None
        what, _, rest = done.stdout.partition(b"\0")
        if what == b"done":
            return None
        _, _, listing = rest.partition(b"\0")
        return parse_listing(listing)

    async def _never_right(self, stock: Stock, version: str) -> FilesError:
        if await stock.is_changed(version):
            return FilesError(
                f"'{stock.local.releases / version}', the manager's own copy, has been changed since it was unpacked: "
                "deploy this version again"
            )
        return self._error(
            f"release {version} was sent whole, and is not there what it is here: see dmesg there, its disk or memory "
            "may be damaged"
        )

    async def _do(self, script: str, *arguments: str, bound_s: float = SHORT_S) -> Done:
        """Run one that may be repeated, until it has ended with a connection that stood."""
        return await attempt(self.host, lambda: self._run(script, *arguments, bound_s=bound_s))

    async def _run(self, script: str, *arguments: str, input: Input = b"", bound_s: float = SHORT_S) -> Done:
        try:
            return await self.host.run(script, str(self.path), *arguments, input=input, timeout_s=bound_s)
        except ScriptFailed as error:
            said = error.done.stderr.decode(errors="replace").strip()
            if error.done.code == scripts.REFUSED:
                raise self._error(said) from error
            for line in said.splitlines():
                if remedy := remedy_in(line):
                    raise self._error(f"{line}: {remedy}") from error
            raise FilesError(str(error)) from error

    def _error(self, message: str) -> FilesError:
        return FilesError(f"{self.title}: {message}")


def _check_version(version: str) -> None:
    if not VERSION.fullmatch(version):
        raise FilesError(f"{version!r} is no version: a letter or digit, then up to 127 letters, digits, . _ + or -")
