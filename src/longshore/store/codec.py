"""Records ↔ JSON text. One adapter for each record that is stored whole; decoding validates types.

Other versions of Longshore have written some of it. A field that is missing has its default, one that is unknown is
left out; so a change that an older version must not overlook needs a new number of the schema, which that one refuses.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from functools import cache, lru_cache
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from longshore.model import Failure, Routing, Spec, VerdictReport

log = logging.getLogger("longshore.store")

_SPEC = TypeAdapter(Spec)
_ROUTING = TypeAdapter(Routing)
_FAILURE = TypeAdapter(Failure)
_VERDICT = TypeAdapter(VerdictReport)
_ANY = TypeAdapter(Any)


def encode_spec(spec: Spec) -> str:
    return _SPEC.dump_json(spec).decode()


@lru_cache(maxsize=128)  # a status, a sweep, a step: each looks at the same few again
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


@lru_cache(maxsize=128)
def decode_routing(text: str | None) -> Routing | None:
    return None if text is None else _ROUTING.validate_json(text)


def forget() -> None:
    """Keep nothing that was decoded: it may be of what is deleted, and have its secrets."""
    decode_spec.cache_clear()
    decode_routing.cache_clear()


def encode_failure(failure: Failure | None) -> str | None:
    return None if failure is None else _FAILURE.dump_json(failure).decode()


def decode_failure(text: str | None) -> Failure | None:
    return None if text is None else _FAILURE.validate_json(text)


def encode_verdict(verdict: VerdictReport | None) -> str | None:
    return None if verdict is None else _VERDICT.dump_json(verdict).decode()


def decode_verdict(text: str | None) -> VerdictReport | None:
    return None if text is None else _VERDICT.validate_json(text)


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
