"""Errors as a person wants to see them: what, where, why, and what to do next. Exit status 1."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from longshore.cli.output import facts, paint, say, say_json, when

if TYPE_CHECKING:
    from longshore.client.errors import ApiError, ClientError


def report(error: ClientError, *, as_json: bool) -> None:
    """One red line, then the facts and a hint. With `as_json` the envelope goes to standard output as well."""
    from longshore.client.errors import ApiError

    if as_json:
        body = error.envelope() if isinstance(error, ApiError) else _client_envelope(error)
        say_json(body)
    if not isinstance(error, ApiError):
        say(paint(f"error: {error.message}", "red"), err=True)
        return
    first, *rest = _headline(error).splitlines() or [error.code]
    say(paint(f"error: {first} [{error.code}]", "red"), err=True)
    for line in rest:
        say(f"  {line}", err=True)
    facts(_facts(error), indent="  ", err=True)


def _headline(error: ApiError) -> str:
    """The message, unless it is only the issues that follow, put together."""
    count = len(_issues(error.details))
    return f"the specification has {count} problems" if count > 1 else error.message


def _facts(error: ApiError) -> dict[str, str]:
    details = error.details
    shown = {"step": str(details.get("operation") or "") if "rolled_back" in details else ""}
    issues = _issues(details)
    if len(issues) > 1:
        for issue in issues:
            field = str(issue.get("field") or "specification")
            shown[field] = "\n".join(filter(None, (shown.get(field), str(issue.get("message", "")))))
    if error.cause and error.cause not in error.message:
        shown["cause"] = error.cause.rstrip()
    if "rolled_back" in details:
        shown["outcome"] = _outcome(details)
    if hint := HINTS.get(error.code):
        shown["hint"] = hint(error)
    return shown


def _issues(details: dict[str, Any]) -> list[dict[str, Any]]:
    issues = details.get("issues")
    return [issue for issue in issues if isinstance(issue, dict)] if isinstance(issues, list) else []


def _outcome(details: dict[str, Any]) -> str:
    if details["rolled_back"]:
        return "rolled back: everything was undone; what served before, if anything did, serves on"
    return "not rolled back: it is held as it stands, for inspection, until the next deploy or rollback"


def _name(error: ApiError) -> str:
    return str(error.details.get("deployment") or "NAME")


def _look(error: ApiError) -> str:
    return f"`longshore logs {_name(error)}`, `longshore history {_name(error)}`"


def _in_progress(error: ApiError) -> str:
    details, name = error.details, _name(error)
    advice = f"`longshore watch {name}` to wait for it, `longshore abort {name}` to have it undone"
    try:
        since = when(datetime.fromisoformat(str(details["started_at"])))
    except (KeyError, ValueError):
        return advice
    return f"started by {details.get('started_by') or 'somebody'}, {since}: {advice}"


def _limited(error: ApiError) -> str:
    wait = f"in {error.retry_after:.0f} s" if error.retry_after else "in a minute"
    return f"try again {wait}; the limits are set in [rate_limits] of the manager's configuration"


# To add a hint: a line here, code of the API → what to do next. tests/unit/cli/test_cli_failures.py holds each to be
# a sentence that names a command or a remedy. A code without a line shows its message and cause only.
# {NAME} stands for the deployment in the API's details, which is known for all errors of one deployment.
HINTS: dict[str, Callable[[ApiError], str]] = {
    "DEPLOYMENT_NOT_FOUND": lambda error: "`longshore list` shows what there is",
    "DEPLOYMENT_IN_PROGRESS": _in_progress,
    "PRECONDITION_FAILED": lambda error: f"`longshore status {_name(error)}` shows what it is now, and its revision",
    "DEPLOYMENT_LOCKED": lambda error: "`longshore locks` shows whose it is; --override REASON passes, for all to see",
    "DEPLOYMENTS_FROZEN": lambda error: "wait until it ends, or give --override REASON, which everybody will see",
    "FORBIDDEN": lambda error: "another token may: `longshore token list` shows, to an admin, which there are",
    "ARTIFACT_NOT_FOUND": lambda error: "the path is looked up where the manager runs, by the user it runs as",
    "DEPENDENCY_FAILED": lambda error: "`longshore list` shows the state of what it depends on",
    "HEALTH_CHECK_FAILED": _look,
    "HOOK_FAILED": _look,
    "DEPLOYMENT_FAILED": _look,
    "ROLLBACK_FAILED": _look,
    "BACKUP_NOT_FOUND": lambda error: f"`longshore releases {_name(error)}` shows what can be gone back to",
    "UNAUTHORIZED": lambda error: "give --token or LONGSHORE_TOKEN; `longshore token` prints it where the manager runs",
    "RATE_LIMITED": _limited,
    "INTERNAL_ERROR": lambda error: "the manager's own log says more; `longshore doctor` checks this machine",
}


def _client_envelope(error: ClientError) -> dict[str, Any]:
    from longshore.client import errors

    codes = {
        errors.ManagerUnreachable: "MANAGER_UNREACHABLE",
        errors.ConnectionLost: "CONNECTION_LOST",
        errors.WaitTimeout: "WAIT_TIMEOUT",
    }
    return {"error": {"code": codes.get(type(error), "CLIENT_ERROR"), "message": error.message, "details": {}}}
