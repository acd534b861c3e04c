"""Webhooks as resources: who is told, what arrived, what did not; and to have it sent again."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Path, Query
from starlette.requests import Request
from starlette.responses import Response

from longshore.api import wire
from longshore.api.bodies import read_json
from longshore.api.context import api_of, caller_of
from longshore.api.deployments import Limit, Offset
from longshore.api.problems import json_response
from longshore.api.wire_request import parse_small
from longshore.errors import SpecInvalid
from longshore.model import DeliveryState

WebhookName = Annotated[str, Path(description="Name of a webhook of the configuration.", examples=["chat"])]
DeliveryId = Annotated[str, Path(description="Delivery id.", examples=["msg_019a3f0e-7c44-7d6a-9a51-0d6f3c1f2b7e"])]


async def list_webhooks(request: Request) -> Response:
    """The webhooks of the configuration, and how many deliveries of each are on their way or were given up."""
    return json_response({"webhooks": [wire.webhook_json(row) for row in api_of(request).webhooks.list()]})


async def list_deliveries(
    request: Request,
    webhook: WebhookName,
    state: Annotated[
        Literal["pending", "delivered", "dead"] | None, Query(description="Only those in this state.")
    ] = None,
    limit: Limit = 50,
    offset: Offset = 0,
) -> Response:
    """What a webhook was or is to be told, newest first."""
    rows, total = api_of(request).webhooks.deliveries(
        webhook, state=DeliveryState(state) if state else None, limit=limit, offset=offset
    )
    return json_response(
        {"deliveries": [wire.delivery_json(row) for row in rows], "total": total, "limit": limit, "offset": offset}
    )


async def get_delivery(request: Request, webhook: WebhookName, delivery: DeliveryId) -> Response:
    """One message: how it stands, and what the last attempt was answered."""
    return json_response(wire.delivery_json(api_of(request).webhooks.delivery(webhook, delivery)))


async def redeliver(request: Request, webhook: WebhookName, delivery: DeliveryId) -> Response:
    """Send it once more, now, whatever became of it; with all its attempts before it."""
    await _no_body(request, "redeliver")
    return json_response(wire.delivery_json(api_of(request).webhooks.redeliver(webhook, delivery)))


async def test_webhook(request: Request, webhook: WebhookName) -> Response:
    """Send a message of a rollout that never was, so that its way can be tried. It is tried once."""
    await _no_body(request, "test_webhook")
    return json_response(wire.delivery_json(api_of(request).webhooks.test(webhook, caller_of(request).name)))


async def _no_body(request: Request, route: str) -> None:
    _, issues = parse_small(route, await read_json(request, api_of(request).settings.max_body))
    if issues:
        raise SpecInvalid(issues=issues)
