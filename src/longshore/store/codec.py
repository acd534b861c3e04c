"""Records ↔ JSON text. One adapter for each record that is stored whole; decoding validates types.

Other versions of Longshore have written some of it. A field that is missing has its default, one that is unknown is
left out; so a change that an older version must not overlook needs a new number of the schema, which that one refuses.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from longshore.model import Failure, Routing, Spec

log = logging.getLogger("longshore.store")

_SPEC = TypeAdapter(Spec)
_ROUTING = TypeAdapter(Routing)
_FAILURE = TypeAdapter(Failure)


def encode_spec(spec: Spec) -> str:
    return _SPEC.dump_json(spec).decode()


def decode_spec(text: str) -> Spec:
    """A value that this version does not know (another strategy, say) is its default, and the log says so: one
    deployment must not keep the manager from the others. Raises ValueError where what is left is no spec."""
    try:
        return _SPEC.validate_json(text)
    except ValidationError as error:
        stored = json.loads(text)
        unknown = tuple(sorted({name for each in error.errors() if (name := _leave_out(stored, each["loc"]))}))
        spec = _SPEC.validate_json(json.dumps(stored))
        _tell(spec.name, spec.version, unknown)
        return spec


def _leave_out(stored: Any, loc: tuple[int | str, ...]) -> str:
    """Remove the innermost field that the place of an error names; its dotted name, "" where there is none."""
    parent, path = None, []
    for key in loc:
        if not isinstance(stored, dict) or key not in stored:
            break
        parent, stored = stored, stored[key]
        path.append(str(key))
    if parent is not None:
        del parent[path[-1]]
    return ".".join(path)


@cache
def _tell(name: str, version: str, unknown: tuple[str, ...]) -> None:
    """Once: a spec is decoded with every look at it."""
    log.warning(
        "the specification of %s %s has values that this Longshore does not know, defaults stand for them: %s",
        *(name, version, ", ".join(unknown)),
    )


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
