"""What hosts answer, read: states of units, journals, tables of sockets."""

from __future__ import annotations

import json
from typing import Any

import pytest

from longshore.drivers.base import Exit
from longshore.drivers.systemd import journal, output, sockets
from longshore.drivers.systemd.state import NONE, UnitState, exit_of, state_of, why

UNIT: dict[str, Any] = {
    "LoadState": "loaded",
    "ActiveState": "active",
    "SubState": "running",
    "InvocationID": bytes.fromhex("ab" * 16),
    "WantedBy": [],
    "RequiredBy": [],
    "Job": [0, "/"],
    "NeedDaemonReload": False,
    "DropInPaths": [],
}
SERVICE: dict[str, Any] = {
    "Result": "success",
    "Type": "exec",
    "Environment": ["LANG=C", "LONGSHORE_LAUNCH=m1/abc"],
    "MainPID": 42,
    "ExecMainCode": 0,
    "ExecMainStatus": 0,
    "ExecMainStartTimestamp": 0,
    "NRestarts": 0,
    "MemoryCurrent": 21_000_000,
    "MemoryMax": NONE,
    "TimeoutStopUSec": 10_000_000,
    "TimeoutStartUSec": NONE,
    "Slice": "system-shop.slice",
}


def state(service: dict[str, Any] | None = None, **unit: Any) -> UnitState:
    return state_of("shop@1-0.service", UNIT | unit, SERVICE | (service or {}))


def test_what_is_known_of_a_unit() -> None:
    found = state()
    assert (found.invocation, found.mark, found.stop_timeout, found.start_timeout) == ("ab" * 16, "m1/abc", 10, None)
    assert found.describe() == "pid 42, 21 MB"


@pytest.mark.parametrize(
    ("active", "sub", "pid", "job", "up", "down"),
    [
        ("active", "running", 42, 0, True, False),
        ("reloading", "reload", 42, 0, True, False),
        ("activating", "start", 42, 0, True, False),
        ("activating", "auto-restart", 0, 0, False, False),
        ("deactivating", "stop-sigterm", 42, 0, True, False),
        ("deactivating", "stop-sigterm", 0, 0, False, False),
        ("inactive", "dead", 0, 0, False, True),
        ("failed", "failed", 0, 0, False, True),
        ("inactive", "dead", 0, 7, False, False),
        ("inactive", "dead-before-auto-restart", 0, 0, False, False),
    ],
)
def test_whether_it_runs(active: str, sub: str, pid: int, job: int, up: bool, down: bool) -> None:
    found = state({"MainPID": pid}, ActiveState=active, SubState=sub, Job=[job, "/"])
    assert (found.up, found.down) == (up, down)


def test_another_run_is_not_the_one_that_was_asked_for() -> None:
    assert state().runs("ab" * 16)
    assert not state().runs("cd" * 16)
    assert not state(InvocationID=b"").runs("")


@pytest.mark.parametrize(
    ("code", "status", "exit"), [(0, 0, None), (1, 7, Exit(7)), (2, 15, Exit(-15)), (3, 6, Exit(-6))]
)
def test_how_a_process_ended(code: int, status: int, exit: Exit | None) -> None:
    assert exit_of(code, status) == exit


@pytest.mark.parametrize(
    ("result", "exit", "memory_max", "words"),
    [
        ("oom-kill", Exit(-9), 1 << 20, "memory limit"),
        ("oom-kill", Exit(-9), None, "no memory left"),
        ("signal", Exit(-9), 1 << 20, "perhaps"),
        ("watchdog", Exit(-6), None, "watchdog"),
        ("start-limit-hit", Exit(1), None, "starts it no more"),
        ("exit-code", Exit(203), None, "cannot be executed"),
        ("exit-code", Exit(226), None, "sandbox"),
    ],
)
def test_why_a_unit_failed_is_said_in_words(result: str, exit: Exit, memory_max: int | None, words: str) -> None:
    assert words in why(result, exit, memory_max)


@pytest.mark.parametrize(("result", "exit"), [("success", Exit(0)), ("exit-code", Exit(1)), ("signal", Exit(-9))])
def test_where_the_exit_says_it_all_nothing_is_added(result: str, exit: Exit) -> None:
    assert why(result, exit) == ""


def entries(*found: dict[str, Any]) -> bytes:
    return b"\n".join(json.dumps(each).encode() for each in found)


def test_the_end_of_a_run_is_read_from_the_journal() -> None:
    said = entries(
        {"MESSAGE": "Started shop@1-0.service."},
        {
            "MESSAGE_ID": journal.PROCESS_EXIT,
            "EXIT_CODE": "killed",
            "EXIT_STATUS": "9",
            "MESSAGE": "Main process exited",
        },
        {"MESSAGE_ID": journal.UNIT_FAILED, "UNIT_RESULT": "oom-kill", "MESSAGE": "Failed with result 'oom-kill'."},
    )
    assert journal.parse_ending(said) == journal.Ending(Exit(-9), "oom-kill", "")


def test_why_a_program_was_not_executed_is_read_from_the_journal() -> None:
    said = entries(
        {"MESSAGE": "shop@1-0.service: Failed to execute /srv/run: Permission denied."},
        {"MESSAGE": "shop@1-0.service: Failed at step EXEC spawning /srv/run: Permission denied"},
        {"MESSAGE_ID": journal.PROCESS_EXIT, "EXIT_CODE": "exited", "EXIT_STATUS": "203"},
    )
    expected = journal.Ending(Exit(203), "", "Failed to execute /srv/run: Permission denied")
    assert journal.parse_ending(said) == expected


@pytest.mark.parametrize("said", [b"", b"not json", b'{"MESSAGE": "cut', b"[]", b'{"MESSAGE_ID": null}'])
def test_a_journal_that_says_nothing_leaves_the_end_unknown(said: bytes) -> None:
    assert journal.parse_ending(said) == journal.Ending(Exit(None), "", "")


@pytest.mark.parametrize(
    ("message", "text"),
    [("hello", "hello"), ([104, 105, 255], "hi\ufffd"), (None, ""), (["twice", "said"], "twice")],
)
def test_a_line_of_the_journal(message: Any, text: str) -> None:
    line = entries({"MESSAGE": message, "__REALTIME_TIMESTAMP": "1700000000500000", "__CURSOR": "s=1"})
    assert output.parse_line(line) == output.Said(1_700_000_000.5, text, "s=1")


def test_what_is_no_line_of_the_journal_is_left_out() -> None:
    assert output.parse_line(b"-- No entries --") is None


def test_ports_are_those_of_its_own_sockets() -> None:
    row = "   0: 00000000:{port} 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 {inode} 1 x"
    said = "\n".join(["inode 11", "inode 12", row.format(port="1F90", inode="11"), row.format(port="1F91", inode="99")])
    assert sockets.parse_ports(said) == {8080}


def test_connections_are_counted_by_port() -> None:
    assert sockets.parse_counts("8080\n80\n8080\n8080\n") == {8080: 3, 80: 1}


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("", ""),
        ("0 4711 nc\n", "nc (pid 4711)"),
        ("33 - \n", "a process of user id 33"),
        ("0 9 \n", "a process (pid 9)"),
    ],
)
def test_a_stranger_is_named(said: str, words: str) -> None:
    assert sockets.parse_stranger(said) == words
