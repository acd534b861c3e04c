"""How a value is written where systemd reads it back, so that it is what it was.

Three grammars: words of a unit file (systemd.syntax(7), systemd.service(5)), paths that a setting takes as they stand,
and files of environment variables (systemd.exec(5), EnvironmentFile=). In unit files `%` begins a specifier as well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from longshore.drivers.base import DriverError

#: what the environment of a unit can hold; systemd leaves out others, with no more than a line in its journal
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: longest line of a unit file that systemd reads (LONG_LINE_MAX), less some room for the setting's name
MAX_WORDS = 1024 * 1024 - 1024

_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r", "%": "%%"}


def word(text: str) -> str:
    """One word of a list in a unit file. Raises DriverError for what no unit file can hold."""
    check_text(text, "a value of a unit")
    return '"' + "".join(_escaped(character) for character in text) + '"'


def command_line(argv: tuple[str, ...]) -> str:
    """The value of ExecStart= for an absolute path, or the name of a program, and its arguments. `:` in front: nothing
    of the form $NAME is replaced in them."""
    line = ":" + " ".join(word(argument) for argument in argv)
    if len(line.encode()) > MAX_WORDS:
        raise DriverError("the command is longer than the 1 MiB that a line of a unit can have: put it into a file")
    return line


def path(text: str) -> str:
    """A path for a setting that takes the rest of its line. Raises DriverError for what such a line cannot say."""
    check_text(text, "a path of a unit")
    if text != text.strip() or text.endswith("\\") or any(ord(character) < 32 for character in text):
        raise DriverError(
            f"{text!r} cannot be a path of a unit: blanks at its ends, control characters or a \\ at its end"
        )
    return text.replace("%", "%%")


def environment_file(environment: Mapping[str, str]) -> str:
    """A file that gives a unit exactly these variables. Raises DriverError for those that no unit can be given."""
    lines = []
    for name, value in environment.items():
        if not VARIABLE.fullmatch(name):
            raise DriverError(
                f"the variable {name!r} cannot be given to a unit of systemd: use letters, digits and underscores, "
                "not a digit first"
            )
        check_text(value, f"the variable {name}")
        # In double quotes all but these four stands for itself, line ends too.
        lines.append(f'{name}="' + re.sub(r'(["\\`$])', r"\\\1", value) + '"\n')
    return "".join(lines)


def label(name: str) -> str:
    """A unit's name as the last part of its D-Bus path."""
    return "".join(
        chr(byte)
        if chr(byte).isascii() and chr(byte).isalnum() and not (index == 0 and chr(byte).isdigit())
        else f"_{byte:02x}"
        for index, byte in enumerate(name.encode())
    )


def unit_escape(text: str) -> str:
    """Part of a unit's name in which a dash means a level of something else, such as that of a slice."""
    return "".join(
        character if character.isascii() and (character.isalnum() or character in ":_.") else f"\\x{byte:02x}"
        for character, byte in ((chr(byte), byte) for byte in text.encode())
    )


def check_text(text: str, what: str) -> None:
    if "\0" in text:
        raise DriverError(f"{what} holds a NUL character, which no program can be given")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DriverError(f"{what} is not valid UTF-8, which is all that systemd takes: {text!r}") from None


# --- private


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if ord(character) < 32 or ord(character) == 127:
        return f"\\x{ord(character):02x}"
    return character
