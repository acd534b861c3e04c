from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from longshore.clock import SystemClock
from longshore.routers.base import RouterError
from longshore.routers.envoy import files
from longshore.routers.envoy.admin import Acks, Admin, AdminUnavailable
from longshore.routers.envoy.files import Refused, ResourceFile
from longshore.routers.envoy.resources import route_frame


class Envoy(Admin):
    """Takes what is in the file, or does as `script` says: one entry for each question."""

    def __init__(self, path: Path) -> None:
        self.file = path
        self.script: Iterator[Acks | None] = iter(())

    async def acks(self, pattern: str) -> Acks:
        version = json.loads(self.file.read_bytes())["version_info"] if self.file.exists() else ""
        answer = next(self.script, Acks(frozenset({version}), 0, 0))
        if answer is None:
            raise AdminUnavailable("away")
        return answer


async def why(since: int) -> str:
    return "because"


@pytest.fixture
def envoy(tmp_path: Path) -> Envoy:
    return Envoy(tmp_path / "cds.json")


@pytest.fixture
def file(envoy: Envoy, tmp_path: Path) -> ResourceFile:
    return ResourceFile(envoy.file, "cds", envoy, SystemClock(), tmp_path / "envoy.log", why)


def names(path: Path) -> list[str]:
    return [each["name"] for each in json.loads(path.read_bytes())["resources"]]


OLD = Acks(frozenset({"1"}), 4, 0)


async def test_the_file_always_holds_the_whole_list(file: ResourceFile) -> None:
    await file.change(put={"a": {"name": "a"}, "b": {"name": "b"}})
    await file.change(put={"c": {"name": "c"}}, drop=["a"])
    assert names(file.path) == ["b", "c"]


async def test_versions_rise_across_managers(file: ResourceFile, envoy: Envoy, tmp_path: Path) -> None:
    await file.change(put={"a": {"name": "a"}})
    heir = ResourceFile(file.path, "cds", envoy, SystemClock(), tmp_path / "envoy.log", why)
    heir.load()
    assert heir.items == file.items
    await heir.change(drop=["a"])
    assert heir.version > file.version


async def test_a_refused_change_is_taken_back_with_its_reason(file: ResourceFile, envoy: Envoy) -> None:
    await file.change(put={"a": {"name": "a"}})
    envoy.script = iter([OLD, Acks(OLD.versions, 5, 0)])
    with pytest.raises(Refused, match="because"):
        await file.change(put={"b": {"name": "b"}})
    assert names(file.path) == ["a"]


async def test_the_counters_of_a_new_envoy_are_no_refusal(file: ResourceFile, envoy: Envoy) -> None:
    envoy.script = iter([OLD, None, Acks(frozenset(), 0, 0)])
    await file.change(put={"a": {"name": "a"}})
    assert names(file.path) == ["a"]


async def test_silence_is_an_error_that_names_the_file(
    file: ResourceFile, envoy: Envoy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "ACK_S", 0.02)
    envoy.script = iter([OLD] * 1000)
    with pytest.raises(RouterError, match=r"cds\.json version \d+ within 0\.02 s"):
        await file.change(put={"a": {"name": "a"}})
    assert names(file.path) == []


async def test_a_change_nobody_answered_for_is_pushed_again(
    file: ResourceFile, envoy: Envoy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "ACK_S", 0.02)
    envoy.script = iter([OLD] * 1000)
    with pytest.raises(RouterError):
        await file.change(put={"a": {"name": "a"}})
    envoy.script = iter(())
    before = file.version
    await file.change()
    assert file.version > before


async def test_a_shard_that_no_listener_uses_is_written_and_not_waited_for(envoy: Envoy, tmp_path: Path) -> None:
    shard = ResourceFile(envoy.file, "r7", envoy, SystemClock(), tmp_path / "envoy.log", why, route_frame(7))
    envoy.script = iter([Acks(frozenset(), 0, 0)] * 2)
    await shard.change(put={"shop": {"name": "shop", "domains": ["shop"]}})
    shard.load()
    assert shard.resource("shop") == {"name": "shop", "domains": ["shop"]}


async def test_a_file_that_is_not_ours_is_known_to_be_lost(file: ResourceFile) -> None:
    file.path.write_text("{")
    file.load()
    assert file.items == {}
    assert file.lost.startswith("it cannot be read: ")


async def test_a_disk_that_takes_nothing_leaves_what_was_there(file: ResourceFile, tmp_path: Path) -> None:
    await file.change(put={"a": {"name": "a"}})
    (tmp_path / "cds.tmp").mkdir()
    with pytest.raises(RouterError, match="cannot be written"):
        await file.change(put={"b": {"name": "b"}})
    assert names(file.path) == ["a"]
    assert list(file.items) == ["a"]
