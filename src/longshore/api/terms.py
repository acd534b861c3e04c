"""What headers say of a change: who asks, once, and against which revision."""

from __future__ import annotations

import re

from starlette.requests import Request

from longshore.api.context import caller_of
from longshore.errors import Issue, SpecInvalid
from longshore.rollout.terms import Once, Terms

#: a revision as an entity tag; the bare number as well, for those who type it
REVISION = r'"[0-9]{1,15}"|[0-9]{1,15}'


def terms_of(request: Request, once: Once | None = None) -> Terms:
    """The terms of a changing request. Raises SpecInvalid for headers that cannot be read."""
    match, none_match = request.headers.get("if-match"), request.headers.get("if-none-match")
    issues = []
    if match is not None and not re.fullmatch(REVISION, match.strip()):
        issues.append(Issue("If-Match", 'must be the revision that the status shows, such as "12"'))
    if none_match is not None and none_match.strip() != "*":
        issues.append(Issue("If-None-Match", "must be *: only a deployment that does not exist yet is deployed"))
    if issues:
        raise SpecInvalid(issues=issues)
    revision = int(match.strip().strip('"')) if match is not None else None
    return Terms(caller_of(request).name, once, revision=revision, absent=none_match is not None)
