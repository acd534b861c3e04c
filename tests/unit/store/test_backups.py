"""Copies of the database: what is in them, which are kept, and what may be put back."""

from __future__ import annotations

import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from longshore.clock import SystemClock
from longshore.disk import FilesError
from longshore.model import Deployment
from longshore.store import Store, backup
from longshore.store.backup import AGAIN_S, EVERY_S, Backups, back_up, restore
from longshore.store.backup_names import name_at, newest_backup
from longshore.store.sqlite import DATABASE, Damaged, migrations


class Clock(SystemClock):
    def __init__(self) -> None:
        self.time = 1_700_000_000.0

    def now(self) -> float:
        return self.time

    monotonic = now


def opened(data: Path) -> Store:
    store = Store(data / DATABASE, SystemClock())
    store.take_over()
    return store


def add(store: Store, *names: str) -> None:
    for name in names:
        store.save_deployment(Deployment(name, "default", f"/srv/{name}", None, None, None, None, 0.0, 0.0))


def names_in(database: Path) -> list[str]:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return [row[0] for row in connection.execute("SELECT name FROM deployments ORDER BY name")]


def test_a_copy_of_a_database_in_use_has_all_that_was_committed(tmp_path: Path) -> None:
    store = opened(tmp_path)
    add(store, "shop", "web")
    with store.transaction():
        add(store, "not-yet")
        back_up(tmp_path / DATABASE, tmp_path / "copy.db")
    assert names_in(tmp_path / "copy.db") == ["shop", "web"]
    assert stat.S_IMODE((tmp_path / "copy.db").stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir() if "copy" in path.name) == ["copy.db"]
    store.close()


def test_a_copy_never_replaces_a_file(tmp_path: Path) -> None:
    opened(tmp_path).close()
    (tmp_path / "copy.db").write_text("mine")
    with pytest.raises(FilesError, match="is there already"):
        back_up(tmp_path / DATABASE, tmp_path / "copy.db")
    assert (tmp_path / "copy.db").read_text() == "mine"


def test_no_copy_is_made_of_a_damaged_database(tmp_path: Path) -> None:
    damage(filled(tmp_path))
    with pytest.raises(Damaged, match="is damaged"):
        back_up(tmp_path / DATABASE, tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()


def test_a_copy_is_made_a_day_and_the_oldest_go(tmp_path: Path) -> None:
    opened(tmp_path).close()
    clock = Clock()
    backups = Backups(tmp_path, 3, clock)
    made = []
    for _ in range(5):
        made.append(backups.keep())
        assert backups.keep() is None
        clock.time += EVERY_S
    kept = sorted((tmp_path / "backups").iterdir())
    assert kept == made[-3:]


def test_none_is_made_with_zero_to_keep_and_what_is_there_stays(tmp_path: Path) -> None:
    opened(tmp_path).close()
    clock = Clock()
    made = Backups(tmp_path, 1, clock).keep()
    clock.time += 10 * EVERY_S
    assert Backups(tmp_path, 0, clock).keep() is None
    assert list((tmp_path / "backups").iterdir()) == [made]


def test_a_copy_from_before_the_clock_was_set_back_keeps_none_from_being_made(tmp_path: Path) -> None:
    opened(tmp_path).close()
    clock = Clock()
    Backups(tmp_path, 3, clock).keep()
    clock.time -= 10 * EVERY_S
    assert Backups(tmp_path, 3, clock).keep() is not None


def test_copies_from_the_future_go_before_all_others(tmp_path: Path) -> None:
    opened(tmp_path).close()
    clock = Clock()
    backups = Backups(tmp_path, 3, clock)
    clock.time += 1000 * EVERY_S
    for _ in range(3):
        assert backups.keep() is not None
        clock.time += EVERY_S
    clock.time -= 1003 * EVERY_S
    made = []
    for _ in range(3):
        made.append(backups.keep())
        clock.time += EVERY_S
    assert sorted((tmp_path / "backups").iterdir()) == made


def test_a_copy_from_an_hour_ahead_does_not_stand_for_that_of_today(tmp_path: Path) -> None:
    opened(tmp_path).close()
    clock = Clock()
    Backups(tmp_path, 3, clock).keep()
    clock.time -= 3600.0
    assert Backups(tmp_path, 3, clock).keep() is not None


def test_a_copy_that_somebody_asked_for_stands_for_none_of_a_day_and_stays(tmp_path: Path) -> None:
    opened(tmp_path).close()
    clock = Clock()
    asked = tmp_path / "backups" / name_at(clock.now(), manual=True)
    back_up(tmp_path / DATABASE, asked)
    for _ in range(3):
        assert Backups(tmp_path, 1, clock).keep() is not None
        clock.time += EVERY_S
    assert asked in (tmp_path / "backups").iterdir()
    assert len(list((tmp_path / "backups").iterdir())) == 2


def test_a_copy_that_its_disk_has_spoilt_gets_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = filled(tmp_path)

    def sync_path(path: Path) -> None:
        if path.name.endswith(".part"):
            damage(path)

    monkeypatch.setattr(backup, "sync_path", sync_path)
    with pytest.raises(Damaged, match=r"The copy \S+ is damaged"):
        back_up(database, tmp_path / "copy.db")
    assert not list(tmp_path.glob("*copy*"))


def test_one_that_could_not_be_made_is_tried_again_after_a_while(tmp_path: Path) -> None:
    clock = Clock()
    backups = Backups(tmp_path, 3, clock)
    with pytest.raises(FilesError, match="There is no database"):
        backups.keep()
    opened(tmp_path).close()
    assert backups.keep() is None
    clock.time += AGAIN_S
    assert backups.keep() is not None


def test_a_restored_copy_is_the_database_and_what_was_there_is_kept_whole(tmp_path: Path) -> None:
    store = opened(tmp_path)
    add(store, "old")
    back_up(tmp_path / DATABASE, tmp_path / "copy.db")
    add(store, "new")
    # As after kill -9: what was written last stands in the -wal alone.
    files = {suffix: (tmp_path / f"{DATABASE}{suffix}").read_bytes() for suffix in ("", "-wal")}
    store.close()
    for suffix, content in files.items():
        (tmp_path / f"{DATABASE}{suffix}").write_bytes(content)
    aside = restore(tmp_path / "copy.db", tmp_path)
    assert names_in(tmp_path / DATABASE) == ["old"]
    assert aside is not None
    assert names_in(aside) == ["new", "old"]
    assert not list(tmp_path.glob("*-wal"))
    again = opened(tmp_path)
    assert [d.name for d in again.deployments()] == ["old"]
    again.close()


def test_the_manager_of_a_restored_copy_is_newer_to_hosts_than_all_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_700_000_000.0
    monkeypatch.setattr("longshore.store.sqlite.time.time", lambda: now)
    opened(tmp_path).close()
    back_up(tmp_path / DATABASE, tmp_path / "copy.db")
    before = 0
    for _ in range(5):  # managers that came and went since, faster than a second each
        store = opened(tmp_path)
        assert store.db.epoch > before
        before = store.db.epoch
        store.close()
    restore(tmp_path / "copy.db", tmp_path)
    now += 3600.0
    store = opened(tmp_path)
    assert store.db.epoch > before
    store.close()


def test_a_restore_that_is_cut_short_has_lost_nothing_of_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(tmp_path)
    back_up(tmp_path / DATABASE, tmp_path / "copy.db")
    add(store, "new")
    files = {suffix: (tmp_path / f"{DATABASE}{suffix}").read_bytes() for suffix in ("", "-wal")}
    store.close()
    for suffix, content in files.items():
        (tmp_path / f"{DATABASE}{suffix}").write_bytes(content)

    def killed(path: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        restore(tmp_path / "copy.db", tmp_path)
    assert names_in(tmp_path / DATABASE) == ["new"]


def test_a_copy_can_be_restored_where_there_is_nothing_yet(tmp_path: Path) -> None:
    store = opened(tmp_path)
    add(store, "shop")
    back_up(tmp_path / DATABASE, tmp_path / "copy.db")
    store.close()
    (tmp_path / "fresh").mkdir()
    assert restore(tmp_path / "copy.db", tmp_path / "fresh") is None
    assert names_in(tmp_path / "fresh" / DATABASE) == ["shop"]


def test_what_is_no_backup_is_refused_and_nothing_is_changed(tmp_path: Path) -> None:
    store = opened(tmp_path)
    add(store, "shop")
    (tmp_path / "other").mkdir()
    opened(tmp_path / "other").close()
    (tmp_path / "text").write_text("not a database\n" * 100)
    with closing(sqlite3.connect(tmp_path / "alien.db")) as alien:
        alien.execute("CREATE TABLE x (y)")
    back_up(tmp_path / DATABASE, tmp_path / "newer.db")
    with closing(sqlite3.connect(tmp_path / "newer.db")) as newer:
        newer.execute(f"PRAGMA user_version = {migrations()[-1][0] + 1}")
    store.close()
    refused = {
        "text": "is no database that can be read: file is not a database",
        "alien.db": "is no backup of a Longshore database",
        "newer.db": r"has schema \d+, this Longshore knows up to",
        f"other/{DATABASE}": "is of another manager",
    }
    for name, why in refused.items():
        with pytest.raises(Damaged, match=why):
            restore(tmp_path / name, tmp_path)
    with pytest.raises(FilesError, match="There is no file"):
        restore(tmp_path / "nothing", tmp_path)
    assert names_in(tmp_path / DATABASE) == ["shop"]
    assert not list(tmp_path.glob(".*"))


def test_a_damaged_database_is_replaced_by_its_copy(tmp_path: Path) -> None:
    database = filled(tmp_path)
    back_up(database, tmp_path / "copy.db")
    damage(database)
    restore(tmp_path / "copy.db", tmp_path)
    assert len(names_in(database)) == 300


@pytest.mark.parametrize("harm", ["damaged", "cut", "text"])
def test_a_damaged_database_is_not_opened_and_the_error_names_the_newest_copy(tmp_path: Path, harm: str) -> None:
    database = filled(tmp_path)
    clock = Clock()
    Backups(tmp_path, 7, clock).keep()
    clock.time += EVERY_S
    newest = Backups(tmp_path, 7, clock).keep()
    match harm:
        case "damaged":
            damage(database)
        case "cut":
            database.write_bytes(database.read_bytes()[: 4096 * 5 + 100])
        case "text":
            database.write_text("this is no database\n" * 1000)
    with pytest.raises(Damaged, match=f"is damaged .*longshore restore {newest}`"):
        Store(database, SystemClock())


def test_the_newest_copy_is_neither_one_from_the_future_nor_one_with_another_name(tmp_path: Path) -> None:
    directory = tmp_path / "backups"
    directory.mkdir()
    assert newest_backup(tmp_path) is None
    for name in ("longshore-99991231T235959Z.db", "longshore-mine.db", "longshore-20269999T999999Z.db", "replaced.db"):
        (directory / name).touch()
    assert newest_backup(tmp_path) == directory / "longshore-99991231T235959Z.db"
    (directory / name_at(1_700_000_000.0)).touch()
    assert newest_backup(tmp_path) == directory / name_at(1_700_000_000.0)
    (directory / name_at(1_700_000_001.0, manual=True)).touch()
    assert newest_backup(tmp_path) == directory / name_at(1_700_000_001.0, manual=True)


def filled(data: Path) -> Path:
    store = opened(data)
    with store.transaction():
        add(store, *(f"app-{n}" for n in range(300)))
    store.close()
    return data / DATABASE


def damage(database: Path) -> None:
    """Overwrite pages in the middle, as a bad disk would."""
    content = bytearray(database.read_bytes())
    content[4096 * 4 : 4096 * 12] = b"\xa5" * 4096 * 8
    database.write_bytes(content)
