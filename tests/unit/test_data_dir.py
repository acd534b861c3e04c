"""What others on the machine may do with a data directory: nothing that would make them the manager."""

from __future__ import annotations

import fcntl
import stat
from pathlib import Path

import pytest

from longshore.app import build
from longshore.data_dir import admin_token, locked
from longshore.routers.envoy import process
from longshore.settings import Settings, SettingsError


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(("before", "after"), [(0o777, 0o755), (0o775, 0o755), (0o711, 0o711), (0o700, 0o700)])
def test_nobody_else_may_write_to_a_data_directory_or_read_its_logs(tmp_path: Path, before: int, after: int) -> None:
    data = tmp_path / "data"
    (data / "logs").mkdir(parents=True)
    data.chmod(before)
    with locked(data):
        assert mode_of(data) == after
        assert mode_of(data / "logs") == 0o700


def test_a_token_that_was_put_there_is_taken_and_kept_from_others(tmp_path: Path) -> None:
    path = tmp_path / "admin.token"
    path.write_text("chosen\n")
    path.chmod(0o644)
    assert admin_token(tmp_path) == "chosen"
    assert mode_of(path) == 0o600


def test_a_token_that_is_made_is_its_owners_alone_and_stays(tmp_path: Path) -> None:
    made = admin_token(tmp_path)
    assert mode_of(tmp_path / "admin.token") == 0o600
    assert admin_token(tmp_path) == made


async def test_a_router_that_cannot_take_over_is_told_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "ADOPT_S", 0.1)
    (tmp_path / "envoy").mkdir(mode=0o700)
    with (tmp_path / "envoy/lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(SettingsError, match=r"The router cannot take over: an Envoy holds .* but does not answer"):
            async with build(Settings(data_dir=tmp_path, listen="127.0.0.1:0")):
                raise AssertionError("it started")


async def test_torn_files_of_an_envoy_that_is_gone_keep_no_manager_from_starting(tmp_path: Path) -> None:
    (tmp_path / "envoy").mkdir(mode=0o700)
    (tmp_path / "envoy/lds.json").write_text("{")
    async with build(Settings(data_dir=tmp_path, listen="127.0.0.1:0")) as manager:
        assert (await manager.world.router.fingerprint()).usable
