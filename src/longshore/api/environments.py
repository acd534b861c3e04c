"""Environments as a resource: what the machines of one lack."""

from __future__ import annotations

from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import Response

from longshore.api.access import EnvironmentName
from longshore.api.context import api_of
from longshore.api.problems import json_response
from longshore.api.waiting import unless_stopping


async def diagnosis(request: Request, environment: EnvironmentName) -> Response:
    """What each host of an environment lacks, as the manager sees it, and how to mend it."""
    api = api_of(request)
    found = await unless_stopping(api, api.doctor.examine(environment))
    return json_response({"environment": environment, "findings": [asdict(finding) for finding in found]})
