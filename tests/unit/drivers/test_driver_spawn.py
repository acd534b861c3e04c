from __future__ import annotations

import os
from pathlib import Path

import pytest

from longshore.drivers.base import DriverError
from longshore.drivers.spawn import Program, argv_of, spawn, user_of


def test_a_line_runs_under_the_shell_and_a_list_as_it_stands() -> None:
    assert argv_of("a b") == ("/bin/sh", "-c", "a b")
    assert argv_of(("a b", "c")) == ("a b", "c")


def test_only_root_can_become_another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(DriverError, match="only a manager that runs as root can run an app as user 'root'"):
        user_of("root")


@pytest.mark.parametrize(
    ("argv", "environment", "reason"),
    [
        ((), {}, "the command is empty"),
        (("",), {}, "the command is empty"),
        (("a\0b",), {}, "holds a NUL character"),
        (("a",), {"A": "\0"}, "holds a NUL character"),
        (("a",), {"A=B": "c"}, "with '=' in it"),
        (("a",), {"": "c"}, "an empty name"),
    ],
)
async def test_what_no_program_can_be_given_is_refused(
    tmp_path: Path, argv: tuple[str, ...], environment: dict[str, str], reason: str
) -> None:
    with pytest.raises(DriverError, match=reason):
        await spawn(Program(argv, tmp_path, environment, "M=1"), 1)
