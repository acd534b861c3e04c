"""A thread that reads an artifact ends with whoever wanted it, and is waited for."""

from __future__ import annotations

import asyncio
import io
import tarfile
import threading
from pathlib import Path

import pytest

from longshore.artifacts import find
from longshore.artifacts.base import ArtifactError, Limits
from longshore.artifacts.stopping import in_thread


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "app.tar"
    with tarfile.open(path, "w") as tar:
        for number in range(200):
            entry = tarfile.TarInfo(f"file-{number}")
            entry.size = 1
            tar.addfile(entry, io.BytesIO(b"x"))
    return path


async def test_what_the_work_gives_is_given(archive: Path) -> None:
    scan = await in_thread(lambda limits: find(archive).scan(archive, limits), Limits())
    assert scan.entries == 200


async def test_what_the_work_raises_is_raised(archive: Path) -> None:
    with pytest.raises(ArtifactError, match="more than 5 entries"):
        await in_thread(lambda limits: find(archive).scan(archive, limits), Limits(max_entries=5))


async def test_an_unpack_that_is_cancelled_has_stopped_early_when_the_cancellation_arrives(
    archive: Path, tmp_path: Path
) -> None:
    place = tmp_path / "release"
    place.mkdir()
    began, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def work(limits: Limits) -> str:
        began.set()
        assert go_on.wait(10)
        try:
            return find(archive).unpack(archive, place, limits)
        finally:
            ended.set()

    task = asyncio.create_task(in_thread(work, Limits()))
    assert await asyncio.to_thread(began.wait, 10)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done(), "it did not wait for the thread"
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
    assert len(list(place.iterdir())) < 200, "it unpacked to the end"
