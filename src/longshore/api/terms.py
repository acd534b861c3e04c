"""What headers say of a change: who asks, once, and against which revision."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from starlette.requests import Request

from longshore.api.context import caller_of
from longshore.api.wire_request import CONFLICT_FIELDS
from longshore.errors import Issue, SpecInvalid
from longshore.rollout.terms import Once, Terms

#: a revision as an entity tag; the bare number as well, for those who type it
REVISION = r'"[0-9]{1,15}"|[0-9]{1,15}'


def with_conflict(terms: Terms, patch: Mapping[str, Any]) -> Terms:
    """The terms with what a body says of them (wire_request.CONFLICT_FIELDS)."""
    return replace(terms, **{key: patch[key] for key in CONFLICT_FIELDS if key in patch})


def terms_of(request: Request, once: Once | None = None) -> Terms:
    """The terms of a changing request. Raises SpecInvalid for headers that cannot be read."""
    match, none_match = request.headers.get("if-match"), request.headers.get("if-none-match")
    issues = []
    if match is not None and not re.fullmatch(REVISION, match.strip()):
        issues.append(Issue("If-Match", 'must be the revision that the status shows, such as "12"'))
    if none_match is not None and none_match.strip() != "*":
        issues.append(Issue("If-None-Match", "must be *: only a deployment that does not exist yet is deployed"))
    override = _override(request)
    if override is not None and not (override.isprintable() and 1 <= len(override) <= 500):
        why = "must say in 1 to 500 characters why what stands against this is passed over"
        issues.append(Issue("Longshore-Override", why))
    if issues:
        raise SpecInvalid(issues=issues)
    caller, revision = caller_of(request), int(match.strip().strip('"')) if match is not None else None
    return Terms(
        caller.name, once, caller.environments, caller.role, revision, absent=none_match is not None, override=override
    )


def _override(request: Request) -> str | None:
    """In UTF-8, as clients send it; the standard leaves open what bytes beyond ASCII mean, and servers read Latin-1."""
    given = request.headers.get("longshore-override")
    return None if given is None else given.encode("latin-1").decode("utf-8", "replace").strip()
