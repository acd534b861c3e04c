"""The API's descriptions: OpenAPI 3.1 from the table of routes, AsyncAPI 3.0 of the WebSocket from the same models."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from longshore.api import schemas
from longshore.api.routes import BODY_NAMES, PROGRESS_PATH, ROUTES, Row
from longshore.api.wire_request import BODIES, NAME_PATTERN

#: schema name → example of the whole body
_EXAMPLES: dict[str, dict[str, Any]] = {
    "DeployRequest": {
        "name": "shop",
        "version": "1.4.2",
        "artifact_path": "/srv/artifacts/shop-1.4.2.tar.gz",
        "environment": "production",
        "strategy": "rolling",
        "health_check_url": "http://localhost:8080/health",
        "replicas": 3,
    },
    "RollbackRequest": {"version": "1.4.1"},
    "AbortRequest": {"reason": "wrong build"},
    "ChangeRequest": {"configuration": {"LOG_LEVEL": "debug", "OLD_FLAG": None}, "replicas": 3},
    "ApproveRequest": {"comment": "looks good"},
    "RestartRequest": {},
    "StopRequest": {},
    "StartRequest": {},
    "PinRequest": {"reason": "the last with the old schema"},
    "UnpinRequest": {},
    "CreateTokenRequest": {"name": "ci", "role": "deploy", "environments": ["staging"]},
    "LockRequest": {"message": "database migration until 18:00", "expires_in": "2h0m0s"},
    "RedeliverRequest": {},
    "TestWebhookRequest": {},
    "PruneRequest": {"keep": 3},
    "ScaleRequest": {"replicas": 5},
}

_DESCRIPTIONS = {201: "The new version serves.", 202: "The rollout has begun (`Prefer: respond-async`)."}

_BEARER = {
    "type": "http",
    "scheme": "bearer",
    "description": "The token in admin.token of the data directory. Not needed where the manager runs with --no-auth.",
}


def openapi(version: str) -> dict[str, Any]:
    document = _described(version).openapi()
    components = document.setdefault("components", {})
    named = components.setdefault("schemas", {})
    for route, name in BODY_NAMES.items():
        named[name] = {**BODIES[route].schema(), "title": name, "examples": [_EXAMPLES[name]]}
    components["securitySchemes"] = {"bearer": _BEARER}
    document["security"] = [{"bearer": []}]
    invalid = document["paths"]["/api/v1/deployments/validate"]["post"]["responses"]["400"]
    invalid["description"] = "The deployment is not valid; or the body is no JSON (an error like any other)."
    schema = invalid["content"]["application/json"]["schema"]
    invalid["content"]["application/json"]["schema"] = {"anyOf": [schema, {"$ref": "#/components/schemas/Error"}]}
    return document


def _described(version: str) -> FastAPI:
    """All rows with everything that is said of them; it serves nobody."""
    app = FastAPI(
        title="Longshore",
        version=version,
        summary="Deployment manager: rolling, blue-green, canary and recreate rollouts of plain artifacts.",
        generate_unique_id_function=lambda route: route.name,
    )
    for row in ROUTES:
        app.router.add_api_route(
            row.path,
            row.endpoint,
            methods=[row.method],
            name=row.name,
            summary=row.summary,
            tags=[row.tag],
            status_code=row.success,
            responses=dict(_responses(row)),
            response_model=None,
            openapi_extra=_extra(row),
        )
    return app


def _responses(row: Row) -> dict[int | str, dict[str, Any]]:
    """As FastAPI wants them. `default` says that every error is an envelope (and keeps its own 422 out)."""
    documented: dict[int | str, dict[str, Any]] = {}
    for status, model in row.answers.items():
        description = _DESCRIPTIONS.get(status, "Done.")
        documented[status] = {"description": description}
        if model is not None:
            documented[status]["model"] = getattr(schemas, model)
        else:
            kind = "object" if row.media == "application/json" else "string"
            documented[status]["content"] = {row.media: {"schema": {"type": kind}}}
    for status, when in sorted({**_usual_errors(row), **row.errors}.items()):
        if status not in documented:
            documented[status] = {"description": when, "model": schemas.Error}
    return {**documented, "default": {"description": "Any other error.", "model": schemas.Error}}


def _usual_errors(row: Row) -> dict[int, str]:
    usual: dict[int, str] = {}
    if not row.open_to_all:
        usual[401] = "UNAUTHORIZED: a bearer token is needed"
    if "{name}" in row.path:
        usual[404] = "DEPLOYMENT_NOT_FOUND"
    if not row.open_to_all:
        usual[403] = "FORBIDDEN: the role, or the environments, of the token do not allow it"
    if any(name == "Longshore-Override" for name, _, _ in row.headers):
        usual[423] = "DEPLOYMENT_LOCKED or DEPLOYMENTS_FROZEN"
    if any(name == "If-Match" for name, _, _ in row.headers):
        usual[412] = "PRECONDITION_FAILED: the deployment is at another revision"
    if row.limited is not None:
        usual[429] = "RATE_LIMITED; Retry-After says when to try again"
    return usual


def _extra(row: Row) -> dict[str, Any]:
    """What FastAPI cannot see of an endpoint that reads its own body and headers."""
    extra: dict[str, Any] = {}
    if row.name in BODIES:
        schema = {"$ref": f"#/components/schemas/{BODY_NAMES[row.name]}"}
        required = bool(BODIES[row.name].require)
        extra["requestBody"] = {"required": required, "content": {"application/json": {"schema": schema}}}
    if row.headers:
        extra["parameters"] = [
            {"name": name, "in": "header", "required": False, "description": about,
             "schema": {"type": "string", "pattern": f"^{pattern}$"}}
            for name, about, pattern in row.headers
        ]  # fmt: skip
    if row.open_to_all:
        extra["security"] = []
    return extra


def asyncapi(version: str) -> dict[str, Any]:
    _, definitions = models_json_schema(
        [(schemas.Progress, "serialization"), (schemas.Error, "serialization")],
        ref_template="#/components/schemas/{model}",
    )
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Longshore progress",
            "version": version,
            "description": "On connect the messages of the rollout in progress, or of the last one; then live.",
        },
        "channels": {
            "progress": {
                "address": PROGRESS_PATH,
                "parameters": {"name": {"description": f"Deployment name: {NAME_PATTERN}"}},
                "messages": {
                    "progress": {"$ref": "#/components/messages/progress"},
                    "error": {"$ref": "#/components/messages/error"},
                },
                "bindings": {
                    "ws": {
                        "bindingVersion": "0.1.0",
                        "query": {
                            "type": "object",
                            "properties": {
                                "rollout": {"type": "string", "description": "Only this rollout."},
                                "after": {"type": "integer", "description": "Resume after this seq."},
                                "follow": {"type": "string", "enum": ["1"], "description": "Never close by itself."},
                            },
                        },
                    }
                },
            }
        },
        "operations": {
            "watch": {
                "action": "send",
                "channel": {"$ref": "#/channels/progress"},
                "messages": [
                    {"$ref": "#/channels/progress/messages/progress"},
                    {"$ref": "#/channels/progress/messages/error"},
                ],
            }
        },
        "components": {
            "messages": {
                "progress": {
                    "summary": "Progress of a rollout; the last one has progress_pct 100.",
                    "contentType": "application/json",
                    "payload": {"$ref": "#/components/schemas/Progress"},
                },
                "error": {
                    "summary": "Why the socket is about to be closed (4400, 4401, 4403, 4404, 1011).",
                    "contentType": "application/json",
                    "payload": {"$ref": "#/components/schemas/Error"},
                },
            },
            "schemas": definitions["$defs"],
        },
    }
