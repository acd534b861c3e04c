"""Kinds of values a request body may hold: each reads JSON strictly into model units and describes itself as a schema.

    read(value, path, issues)   the value in model units, or UNREADABLE with the reason appended to `issues`
    schema()                    the JSON schema of what `read` accepts

Nothing is coerced: "3" is no number and true is no 1. Groups and lists (kinds of kinds) are in groups.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

from longshore.durations import format_duration, parse_duration
from longshore.errors import Issue

UNREADABLE: Any = object()

#: NUL and the C0 and C1 controls but tab and line ends; lone surrogates, which no encoding can carry
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_LINE_BREAKING = re.compile(r"[\t\n\r]")
#: the same for the schema, where half characters cannot occur
_CONTROLS = r"\u0000-\u001f\u007f-\u009f"
_CONTROLS_BUT_LINES = r"\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f"
_SIZE = re.compile(r"^(\d{1,15})(?:([KMGT])i?B?)?$")
_PERCENT = re.compile(r"^(100|[0-9]{1,2})%$")

#: powers of 1024, as systemd and Docker read them
_UNITS = {None: 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class Kind(Protocol):
    def read(self, value: object, path: str, issues: list[Issue]) -> Any: ...

    def schema(self) -> dict[str, Any]: ...


def type_name(value: object) -> str:
    """How JSON calls the type of a value."""
    names: dict[type, str] = {bool: "a boolean", str: "a string", list: "a list", dict: "an object"}
    return "null" if value is None else names.get(type(value), "a number")


class Leaf:
    """A kind without parts: of() returns the value or raises ValueError saying what would be right."""

    def read(self, value: object, path: str, issues: list[Issue]) -> Any:
        try:
            return self.of(value)
        except ValueError as wrong:
            issues.append(Issue(path, str(wrong)))
            return UNREADABLE

    def of(self, value: object) -> Any:
        raise NotImplementedError


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True)
class Text(Leaf):
    """A string. pattern: what it must match whole, told to people by `meaning`."""

    pattern: str | None = None
    meaning: str = ""
    #: characters; a path or a URL may be 4096 long (PATH_MAX)
    longest: int = 4096
    #: line ends and tabs allowed
    lines: bool = False
    empty: bool = False
    #: raises ValueError for what a pattern cannot say
    check: Callable[[str], None] | None = None

    def of(self, value: object) -> str:
        if not isinstance(value, str):
            raise ValueError(f"must be a string, not {type_name(value)}")
        if _UNPRINTABLE.search(value) or (not self.lines and _LINE_BREAKING.search(value)):
            raise ValueError("must not contain control characters")
        if not self.empty and not value.strip():
            raise ValueError("must not be empty")
        if len(value) > self.longest:
            raise ValueError(f"is {len(value)} characters long; at most {self.longest} are allowed")
        if self.pattern is not None and not re.fullmatch(self.pattern, value):
            raise ValueError(f"{value[:80]!r} is not valid: {self.meaning}")
        if self.check is not None:
            self.check(value)
        return value

    def schema(self) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "string", "maxLength": self.longest}
        refused = _CONTROLS_BUT_LINES if self.lines else _CONTROLS
        if self.pattern is not None:
            schema["pattern"] = f"^(?:{self.pattern})$"
        else:
            visible = "" if self.empty else rf"[^\s{refused}][^{refused}]*"
            schema["pattern"] = f"^[^{refused}]*{visible}$"
        if not self.empty:
            schema["minLength"] = 1
        return schema


@dataclass(frozen=True)
class Choice(Leaf):
    values: tuple[str, ...]

    def of(self, value: object) -> str:
        if not isinstance(value, str) or value not in self.values:
            shown = repr(value[:80]) if isinstance(value, str) else type_name(value)
            raise ValueError(f"must be one of {', '.join(self.values)}, not {shown}")
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "enum": list(self.values)}


class Flag(Leaf):
    def of(self, value: object) -> bool:
        if not isinstance(value, bool):
            raise ValueError(f"must be true or false, not {type_name(value)}")
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


@dataclass(frozen=True)
class Count(Leaf):
    least: int
    most: int

    def of(self, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"must be a whole number, not {'a fraction' if _is_number(value) else type_name(value)}")
        if not self.least <= value <= self.most:
            raise ValueError(f"must be between {self.least} and {self.most}")
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.least, "maximum": self.most}


@dataclass(frozen=True)
class Number(Leaf):
    least: float
    most: float

    def of(self, value: object) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise ValueError(f"must be a number, not {type_name(value)}")
        if not self.least <= value <= self.most:
            raise ValueError(f"must be between {self.least:g} and {self.most:g}")
        return float(value)

    def schema(self) -> dict[str, Any]:
        return {"type": "number", "minimum": self.least, "maximum": self.most}


@dataclass(frozen=True)
class Duration(Leaf):
    """Seconds, from a Go duration ("1.5s", "5m0s") or a number; a week is the longest unless said otherwise."""

    least: float = 0.0
    most: float = 7 * 86400.0

    def of(self, value: object) -> float:
        if not isinstance(value, str | int | float) or isinstance(value, bool):
            raise ValueError(f'must be a duration such as "30s" or a number of seconds, not {type_name(value)}')
        try:
            seconds = parse_duration(value)
        except ValueError:
            raise ValueError('is no duration: write "30s", "1m30s" or a number of seconds') from None
        if not self.least <= seconds <= self.most:
            raise ValueError(f"must be between {format_duration(self.least)} and {format_duration(self.most)}")
        return seconds

    def schema(self) -> dict[str, Any]:
        return {
            "oneOf": [
                {"type": "string", "pattern": r"^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$|^[0-9]+(\.[0-9]+)?$"},
                {"type": "number", "minimum": self.least, "maximum": self.most},
            ]
        }


@dataclass(frozen=True)
class Either(Leaf):
    """A duration, or one of some literal JSON values that stand for something: {true: 30.0}, {"manual": "manual"}."""

    duration: Duration
    literals: tuple[tuple[object, Any], ...]

    def of(self, value: object) -> Any:
        for literal, meant in self.literals:
            if type(value) is type(literal) and value == literal:
                return meant
        return self.duration.of(value)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"enum": [literal for literal, _ in self.literals]}, self.duration.schema()]}


class Size(Leaf):
    """Bytes, from a number or from "256M" (powers of 1024)."""

    def of(self, value: object) -> int:
        size = value
        if isinstance(value, str) and (match := _SIZE.match(value)):
            size = int(match[1]) * _UNITS[match[2]]
        if not isinstance(size, int) or isinstance(size, bool):
            raise ValueError('must be a number of bytes or a size such as "256M" or "1G"')
        # Below a megabyte not even /bin/sh starts; the upper bound is what a 64-bit kernel counts in.
        if not 1 << 20 <= size < 1 << 63:
            raise ValueError("must be at least 1M")
        return size

    def schema(self) -> dict[str, Any]:
        return {"oneOf": [{"type": "integer", "minimum": 1 << 20}, {"type": "string", "pattern": _SIZE.pattern}]}


@dataclass(frozen=True)
class CountOrPercent(Leaf):
    most: int

    def of(self, value: object) -> int | str:
        if isinstance(value, str) and _PERCENT.match(value):
            return value
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= self.most:
            return value
        raise ValueError(f'must be a count from 0 to {self.most} or a percentage from "0%" to "100%"')

    def schema(self) -> dict[str, Any]:
        return {
            "oneOf": [
                {"type": "integer", "minimum": 0, "maximum": self.most},
                {"type": "string", "pattern": _PERCENT.pattern},
            ]
        }


def check_http_url(url: str) -> None:
    """Raises ValueError unless it is an http or https URL with a host and, if any, a possible port."""
    if re.search(r"\s", url):
        raise ValueError("must not contain spaces")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as wrong:
        raise ValueError(f"is no URL: {wrong}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ValueError("must be a URL such as http://localhost:8080/health")


def check_absolute(path: str) -> None:
    if not path.startswith("/") or ".." in path.split("/"):
        raise ValueError("must be an absolute path without `..`, such as /srv/shop")


def check_inside(path: str) -> None:
    if path.startswith("/") or not path.strip("/.") or ".." in path.split("/"):
        raise ValueError("must be a path relative to the release, without `..`, such as storage/uploads")
