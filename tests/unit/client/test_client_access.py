"""Tokens, locks and overrides, by both clients alike."""

import asyncio

import pytest

from longshore.client import AsyncLongshore, DeploymentLocked, DeploymentsFrozen, Longshore
from support.fake_manager import LATER, TIME, Answer, envelope, rollout, status

TOKEN = {"name": "ci", "role": "deploy", "environments": ["staging"], "created_by": "admin", "created_at": TIME}
LOCK = {"scope": "deployment", "name": "shop", "holder": "ben", "message": "migration", "since": TIME}
RAN = rollout("succeeded")
#: what a lock or a freeze window can refuse: method, arguments, HTTP method, path, answer
REFUSABLE = [
    ("deploy", ({"name": "shop"},), "POST", "", RAN),
    ("restart", ("shop",), "POST", "/shop/restart", RAN),
    ("scale", ("shop", 3), "POST", "/shop/scale", RAN),
    ("stop", ("shop",), "POST", "/shop/stop", RAN),
    ("start", ("shop",), "POST", "/shop/start", RAN),
    ("configure", ("shop", {"replicas": 3}), "PATCH", "/shop", RAN),
    ("prune", ("shop",), "POST", "/shop/prune", {"removed": [], "freed_bytes": 0}),
    ("delete", ("shop",), "DELETE", "/shop", {"message": "shop is gone"}),
]


@pytest.fixture(params=["sync", "async"])
def call(request, manager):
    """A method of either client, carried out."""

    def sync(method, *args, **kwargs):
        with Longshore(manager.url, "secret", patience=5.0) as client:
            return getattr(client, method)(*args, **kwargs)

    async def run(method, *args, **kwargs):
        async with AsyncLongshore(manager.url, "secret", patience=5.0) as client:
            return await getattr(client, method)(*args, **kwargs)

    def awaited(method, *args, **kwargs):
        return asyncio.run(asyncio.wait_for(run(method, *args, **kwargs), 30))

    return sync if request.param == "sync" else awaited


@pytest.mark.parametrize(("method", "args", "verb", "path", "answer"), REFUSABLE, ids=[row[0] for row in REFUSABLE])
def test_an_override_brings_its_reason_in_any_language(call, manager, method, args, verb, path, answer):
    manager.on(verb, path, Answer(body=answer))
    call(method, *args)
    call(method, *args, override="Störung: alles steht")
    without, with_it = manager.asked(verb, path)
    assert "longshore-override" not in without.headers
    assert with_it.headers["longshore-override"].encode("latin-1").decode() == "Störung: alles steht"


@pytest.mark.parametrize("reason", ["", "  ", "two\nlines"])
def test_an_override_that_says_nothing_is_not_sent(call, manager, reason):
    with pytest.raises(ValueError, match="needs a reason"):
        call("restart", "shop", override=reason)
    assert manager.seen == []


@pytest.mark.parametrize(
    ("code", "error"), [("DEPLOYMENT_LOCKED", DeploymentLocked), ("DEPLOYMENTS_FROZEN", DeploymentsFrozen)]
)
def test_what_is_locked_or_frozen_is_an_error_of_its_own(call, manager, code, error):
    manager.on("POST", "/shop/restart", Answer(423, envelope(code, "no", until=LATER)))
    with pytest.raises(error) as caught:
        call("restart", "shop")
    assert (caught.value.status, caught.value.details["until"]) == (423, LATER)


def test_a_token_is_made_listed_and_revoked(call, manager):
    made = TOKEN | {"token": "lsh_text"}
    manager.on("POST", "/api/v1/tokens", Answer(201, made))
    manager.on("GET", "/api/v1/tokens", Answer(body={"tokens": [TOKEN]}))
    manager.on("DELETE", "/api/v1/tokens/ci", Answer(body=TOKEN | {"revoked_at": LATER}))
    token = call("create_token", "ci", "deploy", environments=("staging",), expires_in="720h")
    assert (token.token, token.environments, token.expires_at) == ("lsh_text", ("staging",), None)
    assert "lsh_text" not in repr(token)
    call("create_token", "ci", "read")
    assert [seen.body for seen in manager.seen] == [
        {"name": "ci", "role": "deploy", "environments": ["staging"], "expires_in": "720h"},
        {"name": "ci", "role": "read"},
    ]
    assert [each.name for each in call("tokens").tokens] == ["ci"]
    assert call("revoke_token", "ci").revoked_at is not None


def test_a_lock_is_put_listed_and_taken_away(call, manager):
    manager.on("PUT", "/shop/lock", Answer(body=LOCK))
    manager.on("PUT", "/api/v1/environments/live/lock", Answer(body=LOCK | {"scope": "environment", "name": "live"}))
    manager.on("DELETE", "/shop/lock", Answer(body=LOCK))
    manager.on("GET", "/api/v1/locks", Answer(body={"locks": [LOCK]}))
    manager.on("GET", "/shop", Answer(body=status(lock=LOCK)))
    assert call("lock", "shop", message="migration", expires_in=7200, if_revision=7).holder == "ben"
    assert call("lock", environment="live").scope == "environment"
    assert [each.message for each in call("locks").locks] == ["migration"]
    assert call("get", "shop").lock.holder == "ben"
    call("unlock", "shop", force=True)
    put, other, *_, gone = manager.seen
    assert (put.body, put.headers["if-match"]) == ({"message": "migration", "expires_in": 7200}, '"7"')
    assert (other.body, gone.query) == ({"message": ""}, {"force": "true"})


@pytest.mark.parametrize("given", [{}, {"name": "shop", "environment": "live"}])
@pytest.mark.parametrize("method", ["lock", "unlock"])
def test_a_lock_is_of_a_deployment_or_of_an_environment(call, manager, method, given):
    with pytest.raises(ValueError, match="give the name"):
        call(method, **given)
    assert manager.seen == []
