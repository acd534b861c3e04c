"""`longshore backup` and `longshore restore`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from longshore.app import build
from longshore.cli.root import cli
from longshore.clock import SystemClock
from longshore.data_dir import locked
from longshore.settings import Settings
from longshore.store import Store
from support.launching import until


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    Store(tmp_path / "data/longshore.db", SystemClock()).close()
    store = Store(tmp_path / "data/longshore.db", SystemClock())
    store.take_over()
    store.close()
    return tmp_path / "data"


def run(data: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, ["--data-dir", str(data), *words])


def test_a_backup_without_a_name_goes_to_the_data_directory(data: Path) -> None:
    result = run(data, "backup", "--json")
    answer = json.loads(result.output)
    assert result.exit_code == 0
    assert Path(answer["path"]).parent == data / "backups"
    assert Path(answer["path"]).name.startswith("longshore-manual-")
    assert Path(answer["path"]).stat().st_size == answer["size_bytes"] > 0


def test_a_backup_into_a_directory_is_named_by_its_time(data: Path, tmp_path: Path) -> None:
    assert run(data, "backup", str(tmp_path)).exit_code == 0
    assert len(list(tmp_path.glob("longshore-*Z.db"))) == 1


def test_what_was_backed_up_while_a_manager_holds_the_directory_can_be_restored_when_it_is_gone(
    data: Path, tmp_path: Path
) -> None:
    copy = str(tmp_path / "copy.db")
    with locked(data):
        assert run(data, "backup", copy).exit_code == 0
        refused = run(data, "restore", copy)
    assert refused.exit_code == 1
    assert "is in use by pid" in refused.stderr
    assert "stop that manager first" in refused.stderr
    result = run(data, "restore", copy)
    assert result.exit_code == 0
    assert "start the manager" in result.output
    assert "What was there is kept as" in result.output


@pytest.mark.parametrize("words", [("backup",), ("restore", "nothing.db")])
def test_what_is_not_there_is_an_error_in_a_sentence(tmp_path: Path, words: tuple[str, ...]) -> None:
    result = run(tmp_path, *words)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: There is no ")


async def test_a_manager_makes_its_first_copy_as_it_starts(tmp_path: Path) -> None:
    async with build(Settings(data_dir=tmp_path, listen="127.0.0.1:0")):
        await until(lambda: list((tmp_path / "backups").glob("longshore-*.db")), "a copy stands in backups/")
