"""Request bodies → model. One table says what a deploy may hold; the parser and the OpenAPI schema come from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from longshore.api.groups import Argv, Field, Group, ListOf, StringMap
from longshore.api.kinds import (
    UNREADABLE,
    Choice,
    Count,
    CountOrPercent,
    Duration,
    Either,
    Flag,
    Number,
    Size,
    Text,
    check_absolute,
    check_http_url,
    check_inside,
)
from longshore.api.wire_canary import CANARY
from longshore.api.wire_systemd import LABELS, SYSTEMD, Serial
from longshore.errors import Issue
from longshore.model import STRATEGY_NAMES, Recreate
from longshore.rollout.request import Request
from longshore.rollout.specs import FIXED, MAPS

NAME_PATTERN = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
VERSION_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}"
#: words of the API's own paths, so no deployment may have them for a name
RESERVED_NAMES = frozenset({"validate"})

_NAME_MEANING = "use 1 to 63 of a-z, 0-9 and -, beginning and ending with a letter or digit"
NAME = Text(NAME_PATTERN, _NAME_MEANING, longest=63)
VERSION = Text(
    VERSION_PATTERN, "use up to 128 of A-Z, a-z, 0-9, . _ + -, beginning with a letter or digit", longest=128
)
_ENVIRONMENT = Text(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", "use up to 63 of A-Z, a-z, 0-9, . _ -", longest=63)
_SERVICE = Text(r"[A-Za-z0-9][A-Za-z0-9:_.@\\-]{0,254}", "use the name of a unit or of a Procfile line", longest=255)
_HOOKS = ListOf(Text(longest=16384, lines=True))
_POSITIVE = Duration(least=0.01)
_YEAR_S = 366 * 86400.0
#: the contract's bound; more than a thousand of one application on a machine is a slip of the keyboard
REPLICAS = Count(1, 1000)


_HEALTH_CHECK = Group(
    {
        "interval": Field(_POSITIVE, "Between two probes of an instance that serves.", "5s"),
        "timeout": Field(_POSITIVE, "Bound on one probe.", "2s"),
        "deadline": Field(_POSITIVE, "How long an instance may take from its start until it is ready.", "1m0s"),
        "healthy_threshold": Field(Count(1, 100), "Successes in a row that make an instance ready.", 2),
        "unhealthy_threshold": Field(Count(1, 100), "Failures in a row that make a ready instance unready.", 3),
        "min_ready": Field(Duration(), "How long an instance must have been ready to count as available.", "10s"),
    }
)
_ROLLING = Group(
    {
        "max_surge": Field(CountOrPercent(1000), "Instances above `replicas` during the rollout, rounded up.", "25%"),
        "max_unavailable": Field(CountOrPercent(1000), "Instances that may be missing meanwhile, rounded down.", 0),
        "serial": Field(Serial(), "Hosts at a time: a count, a percentage, or a list of those.", [1, 5, "100%"]),
    }
)
_RESOURCES = Group(
    {
        "memory": Field(Size(), "Bytes for each instance, or such as `256M`.", "256M"),
        "cpu": Field(Number(0.01, 4096), "Cores for each instance.", 0.5),
        "tasks": Field(Count(1, 4_194_304), "Processes and threads of each instance.", 256),
        "files": Field(Count(16, 1_073_741_816), "Open files of each instance.", 4096),
    }
)

_VARIABLES = StringMap(r"[A-Za-z_][A-Za-z0-9_]{0,255}", "use the name of an environment variable")

# To add a field: a line here, the attribute in model.Spec, a row of the table in docs/api.md. The parser, the OpenAPI
# schema and tests/unit/api/test_wire_request.py then cover it by themselves.
# `blank` marks the optional strings of the seed contract, for which "" means "not given".
DEPLOY_FIELDS: dict[str, Field] = {
    "name": Field(NAME, "The deployment: the key of everything.", "shop"),
    "version": Field(VERSION, "The version this artifact is; immutable.", "1.4.2"),
    "artifact_path": Field(
        Text(), "Directory, archive or single file on the manager's machine.", "/srv/shop-1.4.2.tar.gz"
    ),
    "environment": Field(
        _ENVIRONMENT, "Where it runs; fixed by the first deploy.", "production", "default", blank=True
    ),
    "strategy": Field(Choice(STRATEGY_NAMES), "How the new version replaces the old.", "rolling", "recreate"),
    "working_directory": Field(
        Text(r"/.*", "it must be absolute, such as /srv/shop", check=check_absolute),
        "Where releases/, current and shared/ live.",
        "/srv/shop",
        blank=True,
    ),
    "service_name": Field(_SERVICE, "Unit, or line of the Procfile, to run.", "web", blank=True),
    "health_check_url": Field(
        Text(r"https?://\S+", "it must be such as http://localhost:8080/health", check=check_http_url),
        "Its port is the public port, its path is probed on each instance.",
        "http://localhost:8080/health",
        blank=True,
    ),
    "rollback_on_failure": Field(Flag(), "Undo a rollout that fails; false holds it for inspection.", True, True),
    "dependencies": Field(ListOf(NAME, unique=True), "Deployments that must be healthy.", ["database"]),
    "pre_deploy_hooks": Field(_HOOKS, "Shell commands before the rollout; a failing one fails it.", ["./migrate"]),
    "post_deploy_hooks": Field(_HOOKS, "Shell commands once the new version serves.", ["./warm-cache"]),
    "replicas": Field(REPLICAS, "Instances.", 3),
    "command": Field(Argv(), "What an instance runs: a shell line or an argument vector.", "./server --port $PORT"),
    "port": Field(Count(1, 65535), "The public port, where health_check_url does not name it.", 8080),
    "configuration": Field(
        _VARIABLES,
        "Environment variables of the application; secret-looking ones are masked wherever shown.",
        {"LOG_LEVEL": "info"},
    ),
    "shared_paths": Field(
        ListOf(Text(r"[^/].*", "it must be relative, such as storage", check=check_inside), unique=True),
        "Paths kept from release to release.",
        ["storage"],
    ),
    "health_check": Field(_HEALTH_CHECK, "How an instance's health is asked for."),
    "rolling": Field(_ROLLING, "Bounds of a rolling rollout."),
    "canary": Field(CANARY, "Weights, pauses, limits and checks of a canary rollout."),
    "blue_green": Field(
        Group({"keep_old": Field(Duration(), "How long the old set stays warm.", "1m0s")}), "Of a blue-green rollout."
    ),
    "recreate": Field(
        Group(
            {
                "hold": Field(
                    Either(Duration(), ((True, Recreate().hold), (False, 0.0))),
                    "How long requests are held while nothing runs; true is 30s, false answers 503 at once.",
                    "30s",
                )
            }
        ),
        "Of a recreate rollout.",
    ),
    "drain_timeout": Field(Duration(), "Bound on connections of an instance that leaves.", "30s"),
    "stop_timeout": Field(Duration(), "Between SIGTERM and SIGKILL.", "10s"),
    "hook_timeout": Field(_POSITIVE, "Bound on each hook.", "5m0s"),
    "progress_deadline": Field(Duration(least=1), "A rollout without progress for this long fails.", "10m0s"),
    "artifact_sha256": Field(
        Text(r"[0-9a-f]{64}", "use 64 hexadecimal digits, in lower case", longest=64),
        "What the artifact's SHA-256 must be.",
        blank=True,
    ),
    "resources": Field(_RESOURCES, "Limits of each instance."),
    "post_deploy_failure": Field(
        Choice(("warn", "rollback")), "What a failing post-hook does.", "warn", "warn", blank=True
    ),
    "systemd": Field(SYSTEMD, "Of instances that are units of systemd."),
    "hooks_on": Field(
        Choice(("local", "once", "each")), "Where hooks run: on the manager, on one host, on each.", "once", "once"
    ),
    "host_labels": Field(LABELS, "Labels that a host must have to get instances.", {"role": "web"}),
    "max_failed_hosts": Field(Count(0, 1000), "Hosts that may be out of reach without it failing.", 1),
}

#: what a body may say of a rollout that is in progress; no part of what is deployed
CONFLICT_FIELDS: dict[str, Field] = {
    "on_conflict": Field(
        Choice(("reject", "queue", "supersede")),
        "While another rollout is in progress: 409, wait for it, or abort it first.",
        "queue",
        "reject",
        blank=True,
    ),
    "queue_timeout": Field(Duration(least=1), "How long it may wait for its turn.", "30m0s", "1h0m0s"),
}

REQUIRED = ("name", "version", "artifact_path")


def deploy_group(require: tuple[str, ...] = REQUIRED) -> Group:
    return Group({**DEPLOY_FIELDS, **CONFLICT_FIELDS}, require=require)


def parse_request(body: object, *, require: tuple[str, ...] = REQUIRED) -> Request:
    """Read the body of a deploy, validate or plan.

    body     any JSON value
    require  fields that must be given; null and "" count as missing
    Returns  every well-typed field in model units and every problem at once. Raises nothing.
    """
    issues: list[Issue] = []
    if isinstance(body, dict) and body.get("strategy") == "":
        body = {**body, "strategy": "recreate"}
    patch = deploy_group(require).read(body, "", issues)
    if patch is UNREADABLE:
        return Request({}, tuple(issues))
    conflict = _conflict(patch)
    name = patch.get("name")
    if name in RESERVED_NAMES:
        issues.append(Issue("name", f"{name!r} is reserved; choose another"))
        del patch["name"]
    if name is not None and name in patch.get("dependencies", ()):
        issues.append(Issue("dependencies", "must not contain the deployment itself"))
    return Request(patch, tuple(issues), conflict=conflict)


def _conflict(patch: dict[str, Any]) -> dict[str, Any]:
    """Taken out of the patch: what it says of a rollout in progress."""
    return {key: patch.pop(key) for key in CONFLICT_FIELDS if key in patch}


#: what a change may patch: everything that is not the artifact's own or its place's
CHANGE_FIELDS: dict[str, Field] = {
    **{name: field for name, field in DEPLOY_FIELDS.items() if name not in FIXED},
    "configuration": replace(DEPLOY_FIELDS["configuration"], kind=replace(_VARIABLES, removable=True)),
    "host_labels": replace(DEPLOY_FIELDS["host_labels"], kind=replace(LABELS, removable=True)),
}


_ABSENT = object()


def parse_change(body: object) -> Request:
    """Read the merge patch of a change: null takes a field back to its default, a variable out of `configuration`.

    So does "" for what may be empty. Fields that are not known or not well-typed are issues, and in neither part.
    """
    issues: list[Issue] = []
    given = body if isinstance(body, dict) else {}
    for name in sorted(FIXED & given.keys()):
        issues.append(Issue(name, "cannot be changed without its artifact: deploy that, with the new value"))
    if "command" in given and given["command"] is None:
        issues.append(Issue("command", "only an artifact says what else could run: deploy it without a command"))
    if isinstance(body, dict):
        body = {name: value for name, value in body.items() if name not in FIXED}
    patch = BODIES["change"].read(body, "", issues)
    if patch is UNREADABLE:
        return Request({}, tuple(issues))
    conflict = _conflict(patch)
    for name in MAPS:
        if name in patch:
            patch[name] = {key: value for key, value in patch[name].items() if value is not None}
    return Request(patch, tuple(issues), frozenset(_dropped(CHANGE_FIELDS, given)), conflict)


def _dropped(fields: Mapping[str, Field], given: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Dotted paths of the known fields, and variables, that are given as nothing."""
    for name, known in fields.items():
        value = given.get(name, _ABSENT)
        if value is None or (value == "" and known.blank):
            yield f"{above}{name}"
        elif isinstance(known.kind, Group) and isinstance(value, dict):
            yield from _dropped(known.kind.fields, value, f"{above}{name}.")
        elif isinstance(known.kind, StringMap) and isinstance(value, dict):
            yield from (f"{above}{name}.{key}" for key, text in value.items() if text is None)


_ROLLBACK = Group(
    {
        "version": Field(
            Text(empty=True), "Version to go back to; missing or empty: the one before.", "1.4.1", blank=True
        )
    }
)
_ABORT = Group({"reason": Field(Text(longest=500, lines=True), "Why, for the history.", "wrong build", blank=True)})

# Bodies of the other requests, by the name of the route. Routes that are not here take no body.
BODIES: dict[str, Group] = {
    "deploy": deploy_group(),
    "validate": deploy_group(),
    "plan": deploy_group(),
    "rollback": _ROLLBACK,
    "abort": _ABORT,
    "change": Group({**CHANGE_FIELDS, **CONFLICT_FIELDS}),
    "restart": Group(CONFLICT_FIELDS),
    "stop": Group(CONFLICT_FIELDS),
    "start": Group(CONFLICT_FIELDS),
    "approve": Group(
        {
            "comment": Field(Text(longest=500, lines=True), "Why, for the history.", "looks good", blank=True),
            "queue_timeout": CONFLICT_FIELDS["queue_timeout"],
        }
    ),
    "pin": Group({"reason": Field(Text(longest=500), "Why, for the list.", "before the new schema", blank=True)}),
    "unpin": Group({}),
    "create_token": Group(
        {
            "name": Field(
                Text(r"[a-z0-9][a-z0-9._-]{0,62}", "use up to 63 of a-z, 0-9, . _ -", longest=63),
                "What its holder is called in the history.",
                "ci",
            ),
            "role": Field(Choice(("read", "deploy", "admin")), "What it may do.", "deploy"),
            "environments": Field(
                ListOf(_ENVIRONMENT, unique=True, least=1), "That it may change; missing: all.", ["staging"]
            ),
            "expires_in": Field(
                Duration(60, 10 * _YEAR_S), "How long it is valid; missing: until it is revoked.", "720h0m0s"
            ),
        },
        require=("name", "role"),
    ),
    "lock": Group(
        {
            "message": Field(Text(longest=500), "Why, for those it stops.", "migration until 18:00", blank=True),
            "expires_in": Field(Duration(60, _YEAR_S), "How long it holds; missing: until it is unlocked.", "2h0m0s"),
        }
    ),
    "redeliver": Group({}),
    "test_webhook": Group({}),
    "prune": Group({"keep": Field(Count(1, 1000), "Newest releases to keep; missing: what the manager keeps.", 3)}),
    "scale": Group({"replicas": Field(REPLICAS, "Instances to run.", 5), **CONFLICT_FIELDS}, require=("replicas",)),
}


BODIES["lock_environment"] = BODIES["lock"]


def parse_small(route: str, body: object) -> tuple[dict[str, Any], list[Issue]]:
    """Read the optional body of a route of BODIES; None (no body) is an empty one."""
    issues: list[Issue] = []
    patch = BODIES[route].read({} if body is None else body, "", issues)
    return ({} if patch is UNREADABLE else patch), issues
