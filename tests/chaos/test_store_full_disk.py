"""A disk that becomes full under a real manager: in the middle of a rollout, of its end, and before a start.

Everything is on it: store, releases, logs, Envoy's files. What serves goes on serving, whoever asks is told what to do,
and once there is space again all comes to one known state without anybody's help.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from longshore.client import ClientError
from longshore.demo.manager import ManagerFailed
from support.envoy import needs_envoy
from support.kills import LIGHT, REPLICAS, SHORT, nothing_lost
from support.manager import Site, bounded, open_site, until

pytestmark = [needs_envoy, pytest.mark.slow]

#: of the file system
SIZE_MB = 24
#: until what was interrupted is taken up again: the tidying comes every 30 s
TAKEN_UP_S = 75.0


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own: ext4 on a loop device."""
    if os.geteuid() != 0:
        pytest.skip("a file system of its own can be mounted by root only")
    image, place = tmp_path / "image", tmp_path / "small"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(SIZE_MB * 2**20)
    # No blocks reserved for root: full is full.
    for command in (("mkfs.ext4", "-q", "-m", "0", str(image)), ("mount", "-o", "loop", str(image), str(place))):
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError as error:
            pytest.skip(f"{error.filename} is not installed (apt-get install e2fsprogs mount)")
        if done.returncode != 0:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        if subprocess.run(["umount", str(place)], check=False).returncode != 0:
            # Something still runs there, and the test has failed for it: the mount goes when that ends.
            subprocess.run(["umount", "--lazy", str(place)], check=True)


class Filler:
    """Takes every byte there is, and gives it back."""

    def __init__(self, place: Path) -> None:
        self._path = place / "filler"

    def fill(self) -> None:
        """Again and again, for what others give back while it goes on."""
        with self._path.open("ab", buffering=0) as file:
            for size in (2**20, 4096, 512, 1):
                with suppress(OSError):
                    while True:
                        file.write(bytes(size))

    def free(self) -> None:
        self._path.unlink(missing_ok=True)


@pytest.fixture
async def site(small: Path) -> AsyncIterator[Site]:
    (small / "site").mkdir()
    async with open_site(small / "site", replicas=REPLICAS) as site:
        await site.deploy("1.0", "recreate", **SHORT)
        yield site


@pytest.fixture
def filler(site: Site, small: Path) -> Iterator[Filler]:
    """Empty again before the site is taken down, whatever the test came to."""
    filler = Filler(small)
    yield filler
    filler.free()


async def reached(site: Site, rollout_id: str, step: str) -> None:
    async def looking() -> None:
        while True:
            seen = await site.client.rollout("shop", rollout_id)
            assert not seen.is_over, f"it was over before {step}: {seen.message}"
            if any(each.name == step and each.status == "running" for each in seen.steps):
                return
            await asyncio.sleep(0.02)

    await bounded(looking(), 20.0, f"{step} runs")


async def caught_in(site: Site, moment: str, go: Path) -> None:
    """Begin a rollout to 2.0, and return while it is at `moment`."""
    fields: dict[str, dict[str, Any]] = {
        "unpacking": {},
        "hook": {"pre_deploy_hooks": [f"while [ ! -e {go} ]; do sleep 0.02; done"]},
        "drain": {"strategy": "blue-green", "blue_green": {"keep_old": "0s"}},
    }
    spec = {**site.spec("2.0", "rolling", **SHORT), **fields[moment]}
    if moment == "unpacking":
        big = Path(spec["artifact_path"])
        for number in range(600):
            (big / f"file-{number}").write_bytes(b"x" * 6000)
    rollout = await site.client.deploy(spec, wait=False)
    match moment:
        case "unpacking":
            releases = site.data / "apps/shop/releases"
            await until(lambda: any(releases.glob(".2.0.staging-*/file-*")), "the artifact is being unpacked")
        case "hook":
            await reached(site, rollout.id, "pre_deploy_hooks")
        case "drain":
            await reached(site, rollout.id, "drain")


#: what the disk becomes full in the middle of → where that may end
MOMENTS = {"unpacking": {"1.0"}, "hook": {"1.0"}, "drain": {"2.0"}}


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_disk_that_becomes_full_in_the_middle_of_a_rollout_costs_nobody_anything(
    moment: str, site: Site, filler: Filler, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    later = [site.spec(version, "rolling", **SHORT) for version in ("3.0", "4.0")]
    async with site.load(**{**LIGHT, "held_s": 3.0}) as load:
        await caught_in(site, moment, go)
        filler.fill()
        go.touch()
        for _ in range(20):
            filler.fill()
            await asyncio.sleep(0.1)  # a while in which it stays full: nothing says when everything has run into it
        with pytest.raises(ClientError, match=r"(?i)free space|in progress"):
            await site.client.deploy(later[0])
        assert (await site.client.get("shop")).version
        filler.free()
        ended = await site.until_over(TAKEN_UP_S)
        settled = await site.settled(extra=REPLICAS)
    assert settled in MOMENTS[moment], f"{moment}: {settled}, {ended.message}"
    nothing_lost(load)
    assert (await site.client.deploy(later[1])).status == "succeeded"


async def test_a_disk_that_is_full_keeps_no_application_from_serving_and_a_manager_says_why_it_does_not_start(
    site: Site, filler: Filler
) -> None:
    async with site.load(**LIGHT) as load:
        await site.kill()
        filler.fill()
        with pytest.raises(ManagerFailed) as refused:
            await site.start_manager()
        assert "Traceback" not in str(refused.value)
        assert re.search(r"(?i)space", str(refused.value))
        filler.free()
        await site.start_manager()
        assert await site.settled() == "1.0"
    nothing_lost(load)
    await site.deploy("2.0", "rolling", **SHORT)
