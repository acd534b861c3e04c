"""Who is connected to whom, by what the kernel says of it."""

from __future__ import annotations

import asyncio
import tracemalloc
from pathlib import Path

import pytest

from longshore.connections import connected, connections_to
from longshore.routers.base import Target
from support.backends import Backend
from support.launching import until

TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:4E21 0100007F:C001 01 00000000:00000000 00:00000000 00000000     0        0 1 1 0 20 4 30 10 -1
   1: 0100007F:4E22 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2 1 0 100 0 0 10 0
   2: 0100007F:4E23 0100007F:C003 06 00000000:00000000 00:00000000 00000000     0        0 0 3 0
   3: 0A00000A:C004 0B00000A:4E24 01 00000000:00000000 00:00000000 00000000     0        0 3 1 0 20 4 30 10 -1
"""
TCP6 = """\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when
   0: 00000000000000000000000001000000:4E25 00000000000000000000000001000000:C005 01 00000000:00000000 00:00000000
"""


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "net").mkdir()
    (tmp_path / "net/tcp").write_text(TCP)
    (tmp_path / "net/tcp6").write_text(TCP6)
    return tmp_path


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (Target("127.0.0.1", 0x4E21), True),
        (Target("127.0.0.1", 0x4E22), False),  # listens
        (Target("127.0.0.1", 0x4E23), False),  # TIME_WAIT
        (Target("10.0.0.11", 0x4E24), True),  # elsewhere: by the remote address
        (Target("10.0.0.12", 0x4E24), False),
        (Target("::1", 0x4E25), True),
    ],
)
def test_only_established_connections_keep_a_target_busy(proc: Path, target: Target, expected: bool) -> None:
    assert (target in connected([target], proc)) is expected


@pytest.mark.parametrize(("port", "count"), [(0x4E21, 1), (0x4E22, 0), (0x4E23, 0), (0x4E24, 0), (0x4E25, 1)])
def test_connections_to_a_port_are_those_established_at_its_local_end(proc: Path, port: int, count: int) -> None:
    assert connections_to(port, proc) == count


def test_a_long_table_of_connections_that_wait_out_their_end_costs_no_memory(proc: Path) -> None:
    waiting = TCP.splitlines(keepends=True)[3]
    (proc / "net/tcp").write_text(TCP + 20_000 * waiting)
    assert connections_to(0x4E21, proc) == 1
    tracemalloc.start()
    try:
        assert connections_to(0x4E21, proc) == 1
        assert tracemalloc.get_traced_memory()[1] < 500_000
    finally:
        tracemalloc.stop()


async def test_a_connection_counts_until_it_is_closed() -> None:
    async with Backend("v1") as backend:
        assert connections_to(backend.port) == 0
        _, writer = await asyncio.open_connection("127.0.0.1", backend.port)
        await until(lambda: connections_to(backend.port) == 1, "it is established")
        writer.close()
        await writer.wait_closed()
        await until(lambda: connections_to(backend.port) == 0, "it is closed")
