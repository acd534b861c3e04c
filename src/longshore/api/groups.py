"""Kinds made of kinds: lists, string maps and groups of named fields."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from longshore.api.kinds import UNREADABLE, Kind, Text, type_name
from longshore.errors import Issue


@dataclass(frozen=True)
class Field:
    """A named field: its kind, what it is for (shown in the documentation), and an example."""

    kind: Kind
    about: str
    example: Any = None
    default: Any = None
    #: "" counts as not given, as clients send it whose language has no absent strings
    blank: bool = False

    def schema(self) -> dict[str, Any]:
        schema = {**self.kind.schema(), "description": self.about}
        if self.example is not None:
            schema["examples"] = [self.example]
        if self.default is not None:
            schema["default"] = self.default
        return schema


@dataclass(frozen=True)
class ListOf:
    """A list as a tuple. make: turns the items into the value; its ValueError says what does not fit together."""

    kind: Kind
    longest: int = 100
    least: int = 0
    unique: bool = False
    make: Callable[[list[Any]], Any] = tuple

    def read(self, value: object, path: str, issues: list[Issue]) -> Any:
        if not isinstance(value, list):
            issues.append(Issue(path, f"must be a list, not {type_name(value)}"))
            return UNREADABLE
        if not self.least <= len(value) <= self.longest:
            issues.append(Issue(path, f"must have between {self.least} and {self.longest} entries, not {len(value)}"))
            return UNREADABLE
        items = [self.kind.read(item, f"{path}.{n}", issues) for n, item in enumerate(value)]
        if any(item is UNREADABLE for item in items):
            return UNREADABLE
        try:
            return self.make(list(dict.fromkeys(items)) if self.unique else items)
        except ValueError as wrong:
            issues.append(Issue(path, str(wrong)))
            return UNREADABLE

    def schema(self) -> dict[str, Any]:
        return {"type": "array", "items": self.kind.schema(), "minItems": self.least, "maxItems": self.longest}


@dataclass(frozen=True)
class Argv:
    """A shell line (string) or an argument vector (list of strings, as a tuple)."""

    line: Text = field(default_factory=lambda: Text(longest=16384, lines=True))
    argument: Text = field(default_factory=lambda: Text(longest=16384, lines=True, empty=True))

    def read(self, value: object, path: str, issues: list[Issue]) -> Any:
        if not isinstance(value, list):
            return self.line.read(value, path, issues)
        argv = ListOf(self.argument, longest=1000, least=1).read(value, path, issues)
        if argv is not UNREADABLE and not argv[0]:
            issues.append(Issue(f"{path}.0", "must name the program to run"))
            return UNREADABLE
        return argv

    def schema(self) -> dict[str, Any]:
        return {"oneOf": [self.line.schema(), ListOf(self.argument, longest=1000, least=1).schema()]}


@dataclass(frozen=True)
class StringMap:
    """An object of strings. pattern: what each key must match whole; removable: null is a value, and takes it out."""

    pattern: str
    meaning: str
    most: int = 1000
    removable: bool = False
    value: Text = field(default_factory=lambda: Text(longest=131_072 - 256, lines=True, empty=True))

    def read(self, value: object, path: str, issues: list[Issue]) -> Any:
        if not isinstance(value, dict):
            issues.append(Issue(path, f"must be an object of strings, not {type_name(value)}"))
            return UNREADABLE
        if len(value) > self.most:
            issues.append(Issue(path, f"has {len(value)} entries; at most {self.most} are allowed"))
            return UNREADABLE
        before = len(issues)
        read: dict[str, Any] = {}
        for key, text in value.items():
            if not re.fullmatch(self.pattern, key):
                issues.append(Issue(path, f"{key[:80]!r} is not valid: {self.meaning}"))
            if text is None and self.removable:
                read[key] = None
                continue
            read[key] = self.value.read(text, f"{path}.{key[:80]}", issues)
        return read if len(issues) == before else UNREADABLE

    def schema(self) -> dict[str, Any]:
        value = self.value.schema()
        return {
            "type": "object",
            "additionalProperties": {"anyOf": [value, {"type": "null"}]} if self.removable else value,
            "propertyNames": {"pattern": f"^(?:{self.pattern})$"},
            "maxProperties": self.most,
        }


@dataclass(frozen=True)
class Group:
    """An object of known fields, read as a patch: only what was given. null and, where allowed, "" are "not given".

    make   turns the patch into a record, for entries of lists; such a group is read whole or not at all. Its
           ValueError says what does not fit together
    """

    fields: Mapping[str, Field]
    require: tuple[str, ...] = ()
    make: Callable[..., Any] | None = None

    def read(self, value: object, path: str, issues: list[Issue]) -> Any:
        if not isinstance(value, dict):
            issues.append(Issue(path, f"must be an object, not {type_name(value)}"))
            return UNREADABLE
        before, patch = len(issues), {}
        for key, given in value.items():
            known = self.fields.get(key)
            if known is None:
                issues.append(Issue(_join(path, key[:80]), f"is no known field{self._near(key)}"))
            elif given is not None and not (given == "" and known.blank):
                read = known.kind.read(given, _join(path, key), issues)
                if read is not UNREADABLE:
                    patch[key] = read
        for key in self.require:
            if value.get(key) in (None, ""):
                issues[:] = [issue for issue in issues if issue.field != _join(path, key)]
                issues.append(Issue(_join(path, key), "is required"))
        if self.make is None or len(issues) > before:
            return patch if self.make is None else UNREADABLE
        try:
            return self.make(**patch)
        except ValueError as wrong:
            issues.append(Issue(path, str(wrong)))
            return UNREADABLE

    def _near(self, key: str) -> str:
        snake = re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", key[:80]).lower().replace("-", "_")
        near = difflib.get_close_matches(snake, self.fields, n=1)
        return f"; did you mean {near[0]}?" if near else f"; known are {', '.join(self.fields)}"

    def schema(self) -> dict[str, Any]:
        properties = {
            name: known.schema() if name in self.require else _nullable(known) for name, known in self.fields.items()
        }
        schema = {"type": "object", "properties": properties, "additionalProperties": False}
        return {**schema, "required": list(self.require)} if self.require else schema


def _nullable(known: Field) -> dict[str, Any]:
    """The schema of an optional field: null, and for some "", say "not given"."""
    schema = known.schema()
    annotations: dict[str, Any] = {
        key: schema.pop(key) for key in ("description", "examples", "default") if key in schema
    }
    absent: list[dict[str, Any]] = [{"type": "null"}, *([{"const": ""}] if known.blank else [])]
    return {"anyOf": [schema, *absent], **annotations}


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
