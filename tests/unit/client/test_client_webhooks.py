"""Webhooks, by both clients alike."""

import asyncio

import pytest

from longshore.client import AsyncLongshore, Longshore, NotFound
from support.fake_manager import TIME, Answer, envelope

HOOKS = "/api/v1/webhooks"
DELIVERY = {
    "id": "msg_1", "webhook": "chat", "event": "rollout.failed", "deployment": "shop", "state": "dead",
    "created_at": TIME, "next_at": None, "ended_at": TIME, "attempts": 11, "answer": "500 Broken", "body": "{}",
}  # fmt: skip
CALLS = [
    ("webhooks", (), "GET", "", {"webhooks": [{"name": "chat", "dead": 1}]}),
    ("deliveries", ("chat",), "GET", "/chat/deliveries", {"deliveries": [DELIVERY], "total": 1}),
    ("delivery", ("chat", "msg_1"), "GET", "/chat/deliveries/msg_1", DELIVERY),
    ("redeliver", ("chat", "msg_1"), "POST", "/chat/deliveries/msg_1/redeliver", DELIVERY),
    ("test_webhook", ("chat",), "POST", "/chat/test", DELIVERY),
]


@pytest.fixture(params=["sync", "async"])
def call(request, manager):
    """A method of either client, carried out."""

    def sync(method, *args):
        with Longshore(manager.url, "secret") as client:
            return getattr(client, method)(*args)

    async def run(method, *args):
        async with AsyncLongshore(manager.url, "secret") as client:
            return await getattr(client, method)(*args)

    return sync if request.param == "sync" else lambda *args: asyncio.run(asyncio.wait_for(run(*args), 30))


@pytest.mark.parametrize(("method", "args", "verb", "path", "answer"), CALLS, ids=[row[0] for row in CALLS])
def test_each_method_asks_the_route_of_its_name(call, manager, method, args, verb, path, answer):
    manager.on(verb, HOOKS + path, Answer(body=answer))
    result = call(method, *args)
    assert result.raw == answer
    assert [(seen.method, seen.path, seen.body) for seen in manager.seen] == [(verb, HOOKS + path, None)]


def test_a_delivery_is_a_record(call, manager):
    manager.on("GET", f"{HOOKS}/chat/deliveries/msg_1", Answer(body=DELIVERY))
    delivery = call("delivery", "chat", "msg_1")
    assert (delivery.state, delivery.attempts, delivery.next_at) == ("dead", 11, None)
    assert delivery.created_at.isoformat() == "2026-03-01T12:00:00+00:00"


def test_a_webhook_that_is_not_known_is_not_found(call, manager):
    manager.on("GET", f"{HOOKS}/nope/deliveries", Answer(404, envelope("NOT_FOUND", "There is no webhook 'nope'.")))
    with pytest.raises(NotFound, match="no webhook 'nope'"):
        call("deliveries", "nope")
