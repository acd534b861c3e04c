"""The file: migrations, transactions, stamps."""

from __future__ import annotations

import sqlite3
import stat
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from longshore.store import Store
from longshore.store import sqlite as database
from longshore.store.sqlite import Database, SchemaTooNew, StoreUnavailable, migrations
from support.engine import Clock
from support.makers import make_deployment


def version_of(path: Path) -> int:
    connection = sqlite3.connect(path)
    try:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])
    finally:
        connection.close()


def test_migrations_are_numbered_from_1_without_a_gap() -> None:
    assert [number for number, _ in migrations()] == list(range(1, len(migrations()) + 1))


def test_a_new_file_has_the_newest_schema_and_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "longshore.db"
    Database(path).close()
    assert version_of(path) == migrations()[-1][0]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "longshore.db"
    Database(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 9999")
    connection.close()
    with pytest.raises(SchemaTooNew, match="schema 9999"):
        Database(path)
    assert version_of(path) == 9999


def test_a_migration_of_what_is_there_keeps_a_copy_from_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, known = tmp_path / "longshore.db", migrations()
    Database(path).close()
    last = known[-1][0]
    monkeypatch.setattr(database, "migrations", lambda: [*known, (last + 1, "CREATE TABLE more (id INTEGER);")])
    Database(path).close()
    assert version_of(path) == last + 1
    copy = path.with_name(f"longshore.db.schema-{last}")
    assert version_of(copy) == last
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600


def test_a_migration_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, known = tmp_path / "longshore.db", migrations()
    Database(path).close()
    last = known[-1][0]
    broken = "CREATE TABLE more (id INTEGER); INSERT INTO nowhere VALUES (1);"
    monkeypatch.setattr(database, "migrations", lambda: [*known, (last + 1, broken)])
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        Database(path)
    monkeypatch.undo()
    assert version_of(path) == last
    Database(path).close()


def test_what_fails_inside_a_transaction_leaves_nothing(store: Store) -> None:
    def half() -> None:
        with store.transaction():
            store.save_deployment(make_deployment("api"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half()
    assert store.deployment("api") is None


def test_a_transaction_inside_another_is_undone_with_it(store: Store) -> None:
    def nested() -> None:
        with store.transaction():
            with store.transaction():
                store.save_deployment(make_deployment("api"))
            store.save_deployment(make_deployment("web"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        nested()
    assert [d.name for d in store.deployments()] == ["shop"]
    store.save_deployment(make_deployment("later"))
    assert store.deployment("later") is not None


def test_what_waits_for_a_transaction_runs_once_it_is_on_disk(store: Store) -> None:
    heard = list[bool]()
    with store.transaction():
        with store.transaction():
            store.save_deployment(make_deployment("api"))
            store.db.after_commit(lambda: heard.append(store.deployment("api") is not None))
        assert heard == []
    assert heard == [True]


def test_what_waits_for_a_transaction_that_is_undone_never_runs(store: Store) -> None:
    heard = list[str]()

    def undone() -> None:
        with store.transaction():
            store.db.after_commit(lambda: heard.append("undone"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        undone()
    with store.transaction():
        store.db.after_commit(lambda: heard.append("done"))
    assert heard == ["done"]


def test_a_database_that_cannot_commit_says_so_and_goes_on(tmp_path: Path) -> None:
    failing = [False]

    def hook(point: str) -> None:
        if point == "commit" and failing[0]:
            raise OSError("disk full")

    store = Store(tmp_path / "longshore.db", Clock(), hook)
    store.take_over()
    failing[0] = True
    with pytest.raises(OSError, match="disk full"):
        store.save_deployment(make_deployment())
    failing[0] = False
    assert store.deployments() == []
    store.save_deployment(make_deployment())
    store.close()


def test_a_lock_that_another_program_holds_is_waited_for_once_and_not_by_each_write(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_S", 0.3)
    store.save_deployment(make_deployment("before"))

    def refused_within() -> float:
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match="database is locked"):
            store.save_deployment(make_deployment("refused"))
        return time.monotonic() - began

    for _ in range(2):
        with closing(sqlite3.connect(store.db.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert refused_within() > 0.2
            assert refused_within() < 0.2
            assert store.deployment("before") is not None
        store.save_deployment(make_deployment("after"))


class Unreadable:
    """A connection whose disk reports an error for each query."""

    def __init__(self, inner: sqlite3.Connection) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        if sql.startswith("SELECT"):
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_READ
            raise error
        return self._inner.execute(sql, *parameters)


def test_a_database_that_cannot_be_read_says_so_and_what_to_do(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(store.db, "_connection", Unreadable(store.db._connection))
        for read in (store.deployments, lambda: store.deployment("shop")):
            with pytest.raises(StoreUnavailable, match=r"cannot be read: disk I/O error\. The disk reports an error"):
                read()
    assert store.deployment("shop") is not None


def test_a_query_that_is_wrong_is_not_taken_for_a_disk_that_is(store: Store) -> None:
    for read in (store.db.all, store.db.one):
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            read("SELECT * FROM nowhere")


def test_the_stamp_moves_with_each_write_about_a_deployment_and_with_no_other(store: Store) -> None:
    store.save_deployment(make_deployment("api"))
    shop, api, changes = store.stamp("shop"), store.stamp("api"), store.changes
    store.add_event("shop", "info", "hello", source="test")
    assert store.stamp("shop") != shop
    assert store.stamp("api") == api
    store.touch("api")
    assert store.stamp("api") != api
    assert store.changes == changes + 2


def test_the_stamp_does_not_move_with_what_is_undone(store: Store) -> None:
    before = store.stamp("shop"), store.changes

    def undone() -> None:
        with store.transaction():
            store.add_event("shop", "info", "hello", source="test")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        undone()
    assert (store.stamp("shop"), store.changes) == before
