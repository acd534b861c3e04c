"""Records ↔ JSON text. One adapter for each record that is stored whole; decoding validates types."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from longshore.model import Failure, Routing, Spec

_SPEC = TypeAdapter(Spec)
_ROUTING = TypeAdapter(Routing)
_FAILURE = TypeAdapter(Failure)


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


def encode_handle(handle: Mapping[str, Any] | None) -> str | None:
    return None if handle is None else json.dumps(dict(handle))
