from __future__ import annotations

from pathlib import Path

import pytest

from longshore.artifacts import Scan
from longshore.artifacts.command import missing_program, procfile_lines, resolve_command


def scan(procfile: str | None = None, *executables: str) -> Scan:
    return Scan("directory", "", 0, 0, procfile, executables)


PROCFILE = "# comment\n\nweb: ./web --port $PORT\nworker:   bin/worker   \nbroken line\nempty:\n"


@pytest.mark.parametrize(
    ("command", "found", "service", "expected"),
    [
        ("./mine", scan(PROCFILE, "a"), "worker", "./mine"),
        (("a", "b"), scan(PROCFILE, "a"), "", ("a", "b")),
        ("", scan(PROCFILE, "a"), "", None),
        ((), scan(PROCFILE, "a"), "", None),
        (None, scan(PROCFILE, "a"), "worker", "bin/worker"),
        (None, scan(PROCFILE, "a"), "other", "./web --port $PORT"),
        (None, scan(PROCFILE, "a"), "empty", "./web --port $PORT"),
        (None, scan(PROCFILE, "a"), "", "./web --port $PORT"),
        (None, scan("worker: x", "a"), "", ("./a",)),
        (None, scan(None, "my server"), "", ("./my server",)),
        (None, scan(None, "a", "b"), "", None),
        (None, scan(None), "", None),
    ],
)
def test_the_command_is_the_first_that_is_named(
    command: str | tuple[str, ...] | None, found: Scan, service: str, expected: object
) -> None:
    assert resolve_command(command, found, service) == expected


def test_the_first_of_two_procfile_lines_counts_and_windows_line_ends_do_not() -> None:
    assert procfile_lines("web: a b\r\nweb: c\r\n") == {"web": "a b"}


@pytest.mark.parametrize(
    ("command", "missing"),
    [
        (None, None),
        ("./server --x", None),
        ("./nothing", "./nothing"),
        ("bin/tool", None),
        ("./data", "./data"),
        ("exec ./nothing", "./nothing"),
        ("A=1 B='2 3' ./nothing", "./nothing"),
        ("cd bin && ./nothing", None),
        ("$SERVER x", None),
        ("(./nothing)", None),
        ("'unclosed", None),
        ("sh -c x", None),
        ("no-such-program-anywhere x", "no-such-program-anywhere"),
        ("/bin/sh", None),
        ("/bin/no-such", "/bin/no-such"),
        (("./server",), None),
        (("./nothing", "x"), "./nothing"),
        (("server",), "server"),
        ((), None),
    ],
)
def test_a_program_that_cannot_be_found_is_named(
    command: str | tuple[str, ...] | None, missing: str | None, tmp_path: Path
) -> None:
    (tmp_path / "bin").mkdir()
    for name, mode in (("server", 0o755), ("bin/tool", 0o755), ("data", 0o644)):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(mode)
    assert missing_program(command, tmp_path, "/usr/bin:/bin") == missing


@pytest.mark.parametrize(
    ("command", "missing"), [("./server", None), ("./other", "./other"), ("bin/unknown", None), ("./../x", None)]
)
def test_before_it_is_unpacked_only_the_names_at_the_top_are_known(command: str, missing: str | None) -> None:
    assert missing_program(command, ("server",), "/usr/bin:/bin") == missing
