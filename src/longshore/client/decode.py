"""JSON objects of the API → frozen dataclasses, by their field types."""

from __future__ import annotations

import types
from collections.abc import Hashable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import datetime
from functools import cache
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from longshore.client.errors import UnexpectedAnswer
from longshore.durations import parse_duration

T = TypeVar("T")


class Seconds(float):
    """A duration in seconds, which the API writes as Go does ("5m0s")."""


def decode(kind: type[T], data: object) -> T:
    """An object of `kind` out of decoded JSON.

    Fields are found by their name, or by one of `metadata["keys"]`; unknown keys are ignored: the API only adds.
    A null where a value is due takes the field's default. The object's `raw`, where it has one, is the JSON itself.
    Raises UnexpectedAnswer naming the field that is missing or has another shape.
    """
    if not isinstance(data, Mapping):
        raise UnexpectedAnswer(f"an answer of the manager is no {kind.__name__}: {str(data)[:80]!r}")
    values: dict[str, Any] = {}
    for name, keys, hint, required in _shape(cast("Hashable", kind)):
        if name == "raw":
            values[name] = data
        elif (value := next((data[key] for key in keys if data.get(key) is not None), None)) is not None:
            values[name] = _value(hint, value, f"{kind.__name__}.{name}")
        elif required:
            raise UnexpectedAnswer(f"an answer of the manager lacks {keys[0]!r} ({kind.__name__})")
    return kind(**values)


@cache
def _shape(kind: Hashable) -> tuple[tuple[str, tuple[str, ...], Any, bool], ...]:
    if not (isinstance(kind, type) and is_dataclass(kind)):
        raise TypeError(f"{kind!r} is no dataclass")
    hints = get_type_hints(kind)

    def required(field: Field[Any]) -> bool:
        return field.default is MISSING and field.default_factory is MISSING

    return tuple((f.name, f.metadata.get("keys", (f.name,)), hints[f.name], required(f)) for f in fields(kind))


def _value(hint: Any, value: Any, where: str) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _value(next(arg for arg in args if arg is not type(None)), value, where)
    try:
        if is_dataclass(hint) and isinstance(hint, type):
            return decode(hint, value)
        if origin is tuple:
            return tuple(_value(args[0], item, where) for item in _of(list, value))
        if origin in (dict, Mapping):
            return {str(key): _value(args[1], item, where) for key, item in _of(dict, value).items()}
        if hint is datetime:
            return datetime.fromisoformat(_of(str, value))
        if hint is Seconds:
            return Seconds(parse_duration(value))
        return value if hint in (Any, object) else _of(hint, value)
    except (TypeError, ValueError) as error:
        raise UnexpectedAnswer(f"an answer of the manager has an unexpected {where}: {error}") from error


def _of(kind: type, value: Any) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"{str(value)[:80]!r} is no {kind.__name__}")
    return value
