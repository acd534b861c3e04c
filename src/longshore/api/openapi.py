"""The API's descriptions: OpenAPI 3.1 from the table of routes, AsyncAPI 3.0 of the WebSocket from the same models."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from longshore.api import schemas
from longshore.api.routes import BODY_NAMES, PROGRESS_PATH, ROUTES
from longshore.api.wire import dumps
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

_BEARER = {
    "type": "http",
    "scheme": "bearer",
    "description": "The token in admin.token of the data directory. Not needed where the manager runs with --no-auth.",
}


class Documents:
    """Both documents as bytes, made at the first request for them."""

    def __init__(self, version: str) -> None:
        self._version = version

    @cached_property
    def openapi(self) -> bytes:
        return dumps(openapi(self._version))

    @cached_property
    def asyncapi(self) -> bytes:
        return dumps(asyncapi(self._version))


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
            responses=dict(row.responses()),
            response_model=None,
            openapi_extra=row.extra(),
        )
    return app


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
