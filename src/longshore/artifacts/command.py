"""What a release runs: the command of the specification, else what the artifact itself says."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Collection
from pathlib import Path

from longshore.artifacts.base import Scan

#: `TYPE: COMMAND`, as Heroku and foreman read it; lines that are not of that form are comments to them.
_PROCFILE_LINE = re.compile(r"^([A-Za-z0-9_-]+):\s*(\S.*?)\s*$")

_ASSIGNMENT = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*=")

#: What a POSIX shell runs without looking for a program (POSIX XCU 2.9.1.1, 2.14, 2.4), so it is never missing.
_SHELL_WORDS = frozenset(
    [
        ".",
        ":",
        "[",
        "alias",
        "bg",
        "break",
        "cd",
        "command",
        "continue",
        "eval",
        "exit",
        "export",
        "false",
        "fc",
        "fg",
        "getopts",
        "hash",
        "jobs",
        "kill",
        "newgrp",
        "pwd",
        "read",
        "readonly",
        "return",
        "set",
        "shift",
        "test",
        "times",
        "trap",
        "true",
        "type",
        "ulimit",
        "umask",
        "unalias",
        "unset",
        "wait",
        "!",
        "{",
        "}",
        "case",
        "do",
        "done",
        "elif",
        "else",
        "esac",
        "fi",
        "for",
        "if",
        "in",
        "then",
        "until",
        "while",
    ]
)


def resolve_command(
    spec_command: str | tuple[str, ...] | None, scan: Scan, service_name: str
) -> str | tuple[str, ...] | None:
    """What to run, the first there is of:

    1. `spec_command`, as it stands; an empty one ("" or ()) says that nothing is to run
    2. the line of the Procfile named like `service_name`, else its line `web`: a shell line
    3. the one executable file at the top of the artifact: an argv such as ("./server",)

    Returns  a shell line (str), an argv (tuple), or None: files only.
    """
    if spec_command is not None:
        return spec_command or None
    lines = procfile_lines(scan.procfile or "")
    line = lines.get(service_name) or lines.get("web")
    if line:
        return line
    if len(scan.executables) == 1:
        return (f"./{scan.executables[0]}",)
    return None


def procfile_lines(text: str) -> dict[str, str]:
    """Process type → shell line. Where a type is there twice the first one counts."""
    lines: dict[str, str] = {}
    for line in text.splitlines():
        if found := _PROCFILE_LINE.match(line):
            lines.setdefault(found[1], found[2])
    return lines


def missing_program(
    command: str | tuple[str, ...] | None, directory_or_names: Path | Collection[str], path_env: str
) -> str | None:
    """The program that `command` starts with, if it cannot be found; None if it can, or if only a shell could tell.

    directory_or_names   the release's directory, or the artifact's executables where it is not unpacked yet (`Scan`
                         knows those of the top only, so a relative path further down is taken as found)
    path_env             the PATH the program will have
    """
    program = _program(command) if isinstance(command, str) else next(iter(command or ()), None)
    if not program:
        return None
    if "/" not in program:
        return None if shutil.which(program, path=path_env) else program
    if program.startswith("/"):
        found = _is_executable(Path(program))
    elif isinstance(directory_or_names, Path):
        found = _is_executable(directory_or_names / program)
    else:
        relative = os.path.normpath(program)
        found = "/" in relative or relative in directory_or_names
    return None if found else program


# --- private


def _program(line: str) -> str | None:
    """The first program of a shell line; None where it depends on what a shell makes of the line."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError:
        return None
    for word in words:
        if _ASSIGNMENT.match(word) or word == "exec":
            continue
        if word in _SHELL_WORDS or re.search(r"[$`*?()<>|&;~]", word):
            return None
        return word
    return None


def _is_executable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)
