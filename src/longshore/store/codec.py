"""Records ↔ JSON text. One adapter for each record that is stored whole; decoding validates types."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from typing import Any, get_type_hints

from pydantic import TypeAdapter

from longshore.model import Failure, Routing, Spec

_SPEC = TypeAdapter(Spec)
_ROUTING = TypeAdapter(Routing)
_FAILURE = TypeAdapter(Failure)
_ANY = TypeAdapter(Any)


def encode_spec(spec: Spec) -> str:
    return _SPEC.dump_json(spec).decode()


def decode_spec(text: str) -> Spec:
    return _SPEC.validate_json(text)


def encode_routing(routing: Routing | None) -> str | None:
    return None if routing is None else _ROUTING.dump_json(routing).decode()


def decode_routing(text: str | None) -> Routing | None:
    return None if text is None else _ROUTING.validate_json(text)


def encode_failure(failure: Failure | None) -> str | None:
    return None if failure is None else _FAILURE.dump_json(failure).decode()


def decode_failure(text: str | None) -> Failure | None:
    return None if text is None else _FAILURE.validate_json(text)


def encode_command(command: str | tuple[str, ...] | None) -> str | None:
    return None if command is None else json.dumps(command)


def decode_command(text: str | None) -> str | tuple[str, ...] | None:
    if text is None:
        return None
    value = json.loads(text)
    return value if isinstance(value, str) else tuple(value)


def encode_asked(fields: Mapping[str, Any], dropped: Iterable[str]) -> str:
    return _ANY.dump_json({"fields": dict(fields), "dropped": sorted(dropped)}).decode()


def decode_asked(text: str) -> tuple[dict[str, Any], frozenset[str]]:
    """The fields of a request in model units, groups as patches; and what it drops."""
    asked = json.loads(text)
    return _patch(Spec, asked["fields"]), frozenset(asked["dropped"])


def _patch(kind: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """Each value as the field of that name in the record has it."""
    hints = get_type_hints(kind)

    def read(type_: Any, value: Any) -> Any:
        if isinstance(type_, type) and is_dataclass(type_):
            return _patch(type_, value)
        return TypeAdapter(type_).validate_python(value)

    return {name: read(hints[name], value) for name, value in given.items()}


def encode_handle(handle: Mapping[str, Any] | None) -> str | None:
    return None if handle is None else json.dumps(dict(handle))
