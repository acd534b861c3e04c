"""Webhooks as the client sees them: who is told, what arrived, what did not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from longshore.client import calls
from longshore.client.decode import decode
from longshore.client.effects import Flow, Request
from longshore.client.results import Result

ROOT = "/api/v1/webhooks"


@dataclass(frozen=True, kw_only=True)
class Webhook:
    """host: of its URL, the rest of which is secret; environments: empty is all; pending, dead: deliveries."""

    name: str
    host: str = ""
    events: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    #: json | slack
    format: str = ""
    signed: bool = False
    pending: int = 0
    dead: int = 0


@dataclass(frozen=True, kw_only=True)
class Webhooks(Result):
    webhooks: tuple[Webhook, ...]


@dataclass(frozen=True, kw_only=True)
class Delivery(Result):
    """A message to a webhook. state: pending | delivered | dead"""

    id: str
    webhook: str
    event: str
    deployment: str
    state: str
    created_at: datetime
    #: when it is tried next; None: it arrived or was given up
    next_at: datetime | None = None
    ended_at: datetime | None = None
    attempts: int = 0
    #: what the last attempt was answered
    answer: str = ""
    #: as it is sent
    body: str = ""


@dataclass(frozen=True, kw_only=True)
class Deliveries(Result):
    """A page, newest first. total: all that match, on whatever page."""

    deliveries: tuple[Delivery, ...]
    total: int
    limit: int = 0
    offset: int = 0


def path_of(webhook: str, *parts: str) -> str:
    return "/".join((ROOT, quote(webhook, safe=""), *(quote(part, safe="") for part in parts)))


def webhooks() -> Flow[Webhooks]:
    return calls.get(Webhooks, ROOT)


def deliveries(webhook: str, **query: Any) -> Flow[Deliveries]:
    return calls.get(Deliveries, path_of(webhook, "deliveries"), **query)


def delivery(webhook: str, id: str) -> Flow[Delivery]:
    return calls.get(Delivery, path_of(webhook, "deliveries", id))


def redeliver(webhook: str, id: str) -> Flow[Delivery]:
    answer: Mapping[str, Any] = yield from calls.send(Request("POST", path_of(webhook, "deliveries", id, "redeliver")))
    return decode(Delivery, answer)


def test(webhook: str) -> Flow[Delivery]:
    answer: Mapping[str, Any] = yield from calls.send(Request("POST", path_of(webhook, "test")))
    return decode(Delivery, answer)
