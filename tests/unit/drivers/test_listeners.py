"""Whose a port is: sockets of this very process, and of a child."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from longshore.drivers.listeners import listeners, listening_rows, stranger

CHILD = """
import socket, sys, time
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
s = socket.socket(family); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
s.bind((sys.argv[1], int(sys.argv[2]))); s.listen()
print(s.getsockname()[1], flush=True); time.sleep(600)
"""


class Child:
    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-c", CHILD, host, str(port)], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        self.pid = self.process.pid

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def child() -> Iterator[Child]:
    child = Child()
    yield child
    child.end()


def test_a_port_of_the_processes_themselves_has_no_stranger(child: Child) -> None:
    assert stranger(child.port, [child.pid]) == ""
    assert stranger(child.port, [os.getpid(), child.pid]) == ""


def test_a_port_of_another_process_is_told_with_its_name_and_pid(child: Child) -> None:
    assert f"(pid {child.pid})" in stranger(child.port, [os.getpid()])


def test_where_nobody_listens_there_is_no_stranger() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert stranger(bound.getsockname()[1], []) == ""


def test_one_who_shares_the_port_is_a_stranger(child: Child) -> None:
    also = Child(port=child.port)
    try:
        assert f"pid {also.pid}" in stranger(child.port, [child.pid])
        assert len(listeners(child.port)) == 2
    finally:
        also.end()


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_who_listens_on_all_addresses_is_met_on_the_loopback(host: str) -> None:
    child = Child(host)
    try:
        assert len(listeners(child.port)) == 1
        assert stranger(child.port, [child.pid]) == ""
    finally:
        child.end()


def test_who_is_bound_to_the_loopback_is_met_before_who_is_bound_to_all(child: Child) -> None:
    also = Child("0.0.0.0", child.port)
    try:
        assert stranger(child.port, [child.pid]) == ""
        assert f"pid {child.pid}" in stranger(child.port, [also.pid])
    finally:
        also.end()


def test_who_listens_on_another_address_alone_is_not_met() -> None:
    child = Child("::1")
    try:
        assert listeners(child.port) == []
    finally:
        child.end()


def test_what_waits_out_its_end_behind_the_listeners_is_not_read(tmp_path: Path) -> None:
    row = "   {n}: 0100007F:1F90 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 {n} 1 0\n"
    table = tmp_path / "tcp"
    table.write_text("  sl  local_address\n" + row.format(n=1, state="0A") + row.format(n=2, state="06") + "torn")
    assert [rows[9] for rows in listening_rows(table)] == [b"1"]
    assert list(listening_rows(tmp_path / "tcp6")) == []
