"""How long a drain waits, on a clock of its own: what the kernel says is written here, and time passes by its waits."""

from __future__ import annotations

from pathlib import Path

import pytest

from longshore.routers.base import Target
from longshore.routers.envoy.drain import POLL_S, READINGS, drained
from support.engine import Clock

TITLES = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
#: to port 20001 and to 20002
FIRST, SECOND = (f"   {n}: 0100007F:4E2{n} 0100007F:C001 01 00000000:00000000 00:00000000\n" for n in (1, 2))
A, B = Target("127.0.0.1", 20001), Target("127.0.0.1", 20002)


class Table(Clock):
    """The kernel's table of connections, and the clock by which it changes: at `changes[moment]` to those lines."""

    def __init__(self, proc: Path, changes: dict[float, str]) -> None:
        super().__init__()
        self._file, self._began, self._changes = proc / "net/tcp", self.time, changes
        self._file.parent.mkdir()
        self._write()

    @property
    def passed(self) -> float:
        return self.time - self._began

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        self._write()

    def _write(self) -> None:
        now = max(moment for moment in self._changes if moment <= self.passed)
        self._file.write_text(TITLES + self._changes[now])


async def test_a_connection_that_never_ends_is_waited_for_as_long_as_was_said_and_named(tmp_path: Path) -> None:
    table = Table(tmp_path, {0: FIRST})
    assert await drained([A, B], 1.0, table, tmp_path) == {A}
    assert table.passed == pytest.approx(1.0)


async def test_it_is_over_soon_after_the_last_connection_has_ended(tmp_path: Path) -> None:
    table = Table(tmp_path, {0: FIRST + SECOND, 2: SECOND, 5: ""})
    assert await drained([A, B], 30.0, table, tmp_path) == frozenset()
    assert 5.0 <= table.passed <= 5.0 + READINGS * POLL_S


async def test_one_reading_without_a_connection_is_not_enough(tmp_path: Path) -> None:
    table = Table(tmp_path, {0: "", 0.6 * POLL_S: FIRST, 3: ""})
    assert await drained([A], 30.0, table, tmp_path) == frozenset()
    assert table.passed >= 3.0


async def test_where_the_kernel_says_nothing_the_whole_bound_is_waited(tmp_path: Path) -> None:
    clock = Clock()
    assert await drained([A], 7.0, clock, tmp_path) == frozenset()
    assert clock.time == 1_000_000.0 + 7.0
