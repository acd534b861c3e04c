"""The disk under the store fails, at any moment of a rollout: an error, nothing half-written, and an end all the same.

Of the moments a sample; each of them with every strategy: LONGSHORE_CHAOS_MINUTES=60 make chaos. A lasting fault begins
at some moment and ends when the request has been answered; the manager then has to bring the rollout to its end by
itself. One that passes hits a single write. The SQLite files are real ones.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
import random
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from longshore.errors import InternalError
from longshore.model import Rollout
from longshore.rollout.request import Request
from longshore.rollout.strategies import STRATEGIES
from longshore.rollout.terms import Terms
from longshore.store.sqlite import StoreUnavailable
from support.engine import PORT, Lab
from support.engine import machine as lab_machine
from support.history import History

pytestmark = [
    pytest.mark.usefixtures("simulated"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

#: each moment, with every strategy; or a sample
ALL = float(os.environ.get("LONGSHORE_CHAOS_MINUTES", "0")) > 0
#: a rollout has no more of them
MOMENTS = range(1, 220)
#: what is under way
ACTS = ("good release", "failing release", "rollback")
#: simulated seconds between two rounds of the monitor's tidying, which takes up what was left, and some more
ROUND_S = 100.0


class Busy:
    """Another program writes, and does not end."""

    def __init__(self, it: History) -> None:
        self._it, self._other = it, sqlite3.connect(it.machine.data, isolation_level=None)
        it.lab.store.db._connection.execute("PRAGMA busy_timeout = 0")

    def begin(self) -> None:
        if not self._it.lab.store.db._connection.in_transaction:
            self._other.execute("BEGIN IMMEDIATE")

    def end(self) -> None:
        self._other.close()


class BadDisk:
    """Every write (once: the next one) ends in an I/O error: as it begins, in the middle, or as it is committed; or
    every read."""

    def __init__(self, it: History, verb: str, *, once: bool = False) -> None:
        self._verb, self._once, self._bad = verb, once, False
        #: statements that failed
        self.hits = 0
        self._inner = it.lab.store.db._connection
        it.lab.store.db._connection = self  # type: ignore[assignment]
        self._db = it.lab.store.db

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def execute(self, sql: str, *parameters: Any) -> Any:
        if self._bad and sql.startswith(self._verb):
            self._bad = not self._once
            self.hits += 1
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR
            raise error
        return self._inner.execute(sql, *parameters)

    def begin(self) -> None:
        self._bad = True

    def end(self) -> None:
        self._bad = False
        self._db._connection = self._inner


class FullDisk:
    """Not a byte is free."""

    def __init__(self, it: History) -> None:
        self._it, self._filler = it, it.machine.data.parent / "filler"

    def begin(self) -> None:
        db = self._it.lab.store.db._connection
        if not db.in_transaction:
            # Otherwise what the log of changes has been before is room enough for the whole rollout.
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with self._filler.open("wb", buffering=0) as file:
            for size in (65536, 4096, 1):
                while True:
                    try:
                        file.write(b"\0" * size)
                    except OSError:
                        break

    def end(self) -> None:
        self._filler.unlink(missing_ok=True)


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    place = tmp_path / "tiny"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("a file system of its own can be mounted by root only")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@contextmanager
def told(case: tuple[int, int, str, str]) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        error.add_note(f"the case: {case}")
        raise


@contextmanager
def history(place: Path | None = None) -> Iterator[History]:
    found = History(place)
    try:
        found.begin(2, "rolling")
        yield found
    finally:
        found.teardown()


def cases() -> Iterator[tuple[int, int, str, str]]:
    """(number, moment, strategy, act)."""
    strategies = sorted(STRATEGIES)
    every = itertools.product(MOMENTS, strategies) if ALL else zip(MOMENTS[::9], itertools.cycle(strategies))
    for number, (at, strategy) in enumerate(every):
        yield number, at, strategy, ACTS[(at + number) % len(ACTS)]


def deploy(it: History, strategy: str, version: str = "good-2") -> Rollout | None:
    """None: it was answered with an error that says what is wrong with the store, or that it was interrupted."""
    fields = {
        "name": "shop",
        "version": version,
        "artifact_path": str(it.artifacts[version]),
        "command": "./run",
        "health_check_url": f"http://localhost:{PORT}/health",
        "strategy": strategy,
        "pre_deploy_hooks": ("before",),
        "blue_green": {"keep_old": 90.0},
    }

    return carried_out(it, lambda: it.lab.service.deploy(Request(fields), terms=Terms("test")))


def carried_out(it: History, begin: Callable[[], Coroutine[Any, Any, Rollout]]) -> Rollout | None:
    async def both() -> Rollout:
        rollout = await begin()
        return await it.lab.service.outcome(rollout.id)

    try:
        return it.do(it.lab.while_alive(both()))
    except InternalError as error:
        if not any(told in error.message for told in ("cannot be written", "cannot be read", "was interrupted")):
            raise
        return None


def act_of(it: History, name: str, strategy: str) -> Callable[[], Rollout | None]:
    """What is to be struck; all that it needs has been done."""
    if name == "rollback":
        assert deploy(it, strategy) is not None
        return lambda: carried_out(it, lambda: it.lab.service.rollback("shop", None, terms=Terms("test")))
    return lambda: deploy(it, strategy, "good-2" if name == "good release" else "never-ready")


def struck(it: History, make: Callable[[History], Any], case: tuple[int, int, str, str]) -> bool:
    """Strike at that moment; True: it hit something."""
    number, at, strategy, name = case
    act, fault, restarted = act_of(it, name, strategy), make(it), number % 3 == 0
    it.lab.in_moments(at, fault.begin)
    ended = act()
    it.lab.at.clear()
    with closing(sqlite3.connect(f"file:{it.machine.data}?mode=ro", uri=True)) as reader:
        assert reader.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    fault.end()
    it.disturbed = True
    if restarted:
        it.manager_is_replaced()
    else:
        it.let_be(ROUND_S)
        assert it.open() is None, "the rollout was not taken up again"
    it.all_is_as_it_must()
    return ended is None or (isinstance(fault, BadDisk) and fault.hits > 0)


FAULTS: dict[str, Callable[[History], Any]] = {
    "busy": Busy,
    "error-at-begin": lambda it: BadDisk(it, "BEGIN"),
    "error-at-insert": lambda it: BadDisk(it, "INSERT"),
    "error-at-update": lambda it: BadDisk(it, "UPDATE"),
    "error-at-delete": lambda it: BadDisk(it, "DELETE"),
    "error-at-commit": lambda it: BadDisk(it, "COMMIT"),
    "error-at-select": lambda it: BadDisk(it, "SELECT"),
    "one-error-at-select": lambda it: BadDisk(it, "SELECT", once=True),
    "one-error-at-begin": lambda it: BadDisk(it, "BEGIN", once=True),
    "one-error-at-insert": lambda it: BadDisk(it, "INSERT", once=True),
    "one-error-at-update": lambda it: BadDisk(it, "UPDATE", once=True),
    "one-error-at-delete": lambda it: BadDisk(it, "DELETE", once=True),
    "one-error-at-commit": lambda it: BadDisk(it, "COMMIT", once=True),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_store_that_fails_at_any_moment_of_a_rollout_is_an_error_and_the_rollout_has_an_end(fault: str) -> None:
    hits = []
    for case in cases():
        with history() as it, told(case):
            hits.append(struck(it, FAULTS[fault], case))
    print(f"{len(hits)} rollouts, {sum(hits)} hit")
    assert any(hits)


@pytest.mark.slow
def test_a_disk_that_is_full_at_any_moment_of_a_rollout_is_an_error_and_the_rollout_has_an_end(tiny: Path) -> None:
    hits = []
    for case in cases():
        with history(tiny) as it, told(case):
            hits.append(struck(it, FullDisk, case))
        for path in tiny.iterdir():
            path.unlink()
    print(f"{len(hits)} rollouts, {sum(hits)} hit")
    assert any(hits)


def test_a_store_that_cannot_be_written_says_what_to_do() -> None:
    with history() as it:
        fault = Busy(it)
        fault.begin()
        with pytest.raises(StoreUnavailable, match=r"database is locked\. End the program that keeps it"):
            it.lab.store.add_event("shop", "info", "x", source="test")
        fault.end()


# ------------------------------------------------------------------------------------------------- the power is cut


def content_of(database: Path) -> str:
    """A digest of all that is stored."""
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        return hashlib.sha256("\n".join(connection.iterdump()).encode()).hexdigest()


def copied(database: Path, target: Path, wal: bytes) -> Path:
    for suffix in ("", "-wal", "-shm"):
        target.with_name(target.name + suffix).unlink(missing_ok=True)
    shutil.copyfile(database, target)
    target.with_name(f"{target.name}-wal").write_bytes(wal)
    return target


@pytest.mark.slow
def test_whatever_is_left_of_the_log_of_changes_is_a_beginning_of_what_was_committed(tmp_path: Path) -> None:
    known: list[str] = []
    lengths: list[int] = []
    with history() as it:
        database = it.machine.data
        wal = database.with_name(f"{database.name}-wal")
        it.lab.store.db._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        it.lab.store.db._connection.execute("PRAGMA wal_autocheckpoint = 0")
        known.append(content_of(copied(database, tmp_path / "cut.db", b"")))
        lengths.append(0)

        def committed(point: str) -> None:
            if point == "committed":
                known.append(content_of(copied(database, tmp_path / "cut.db", wal.read_bytes())))
                lengths.append(wal.stat().st_size)

        it.lab.store.db._on_write = committed
        assert deploy(it, "rolling") is not None
        whole, numbers = wal.read_bytes(), random.Random(1)
        assert len(known) > 30
        for length in sorted({0, 1, 31, 32, 33, *lengths, *(numbers.randrange(len(whole)) for _ in range(150))}):
            found = content_of(copied(database, tmp_path / "cut.db", whole[:length]))
            # Exactly those commits whose last byte is there.
            last = max(index for index, each in enumerate(lengths) if each <= length)
            assert found in (known[last], known[min(last + 1, len(known) - 1)]), f"cut at {length}"


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_manager_that_lost_its_power_in_the_middle_of_a_write_recovers(strategy: str, tmp_path: Path) -> None:
    artifacts = {}
    for version in ("1.0", "2.0"):
        artifacts[version] = tmp_path / version
        artifacts[version].mkdir()
        (artifacts[version] / "run").write_text(version)
        (artifacts[version] / "run").chmod(0o755)

    async def every() -> None:
        base = lab_machine(tmp_path / "base.db")
        lab = Lab(base)
        await lab.deploy(artifacts["1.0"], "1.0", strategy=strategy, replicas=2)
        lab.close()
        numbers = random.Random(2)
        for at in range(1, 90, 4):
            for suffix in ("", "-wal", "-shm"):
                (tmp_path / f"cut.db{suffix}").unlink(missing_ok=True)
            lab = Lab(base.copy(tmp_path / "cut.db"), kill_at=at)
            await lab.deploy(artifacts["2.0"], "2.0", strategy=strategy, replicas=2)
            if not lab.dead:
                break
            wal = lab.machine.data.with_name("cut.db-wal")
            torn = wal.read_bytes()[-numbers.randrange(1, 8000) :]
            lab.close()
            # What a write that was cut leaves behind the last commit: some of its frames, or what was on the disk.
            with wal.open("ab") as file:
                file.write(torn)
            after = Lab(lab.machine)
            assert await after.recover()
            assert after.assert_settled(replicas=2) in ("1.0", "2.0")
            after.close()

    asyncio.run(every())
