"""The controls of every day, by both clients alike."""

import asyncio

import pytest

from longshore.client import AsyncLongshore, Longshore, PreconditionFailed
from support.fake_manager import ROOT, TIME, Answer, envelope, rollout, status

RELEASE = {"version": "1.0", "state": "kept", "pinned": True, "pinned_reason": "old schema", "size_bytes": 5}
RAN = rollout("succeeded")
BACK = {"message": "done", "version": "1.0", "timestamp": TIME}
PATCH = {"configuration": {"OLD": None}}
#: method, arguments, HTTP method, path, body, answer; every one of them takes `if_revision`
CALLS = [
    ("deploy", ({"name": "shop"},), "POST", "", {"name": "shop"}, RAN),
    ("rollback", ("shop", "1.0"), "POST", "/shop/rollback", {"version": "1.0"}, BACK),
    ("pause", ("shop", "r-2"), "POST", "/shop/rollouts/r-2/pause", None, rollout("paused")),
    ("resume", ("shop", "r-2"), "POST", "/shop/rollouts/r-2/resume", None, rollout("running")),
    ("promote", ("shop", "r-2"), "POST", "/shop/rollouts/r-2/promote", None, rollout("running")),
    ("abort", ("shop", "r-2"), "POST", "/shop/rollouts/r-2/abort", None, rollout("unwound")),
    ("approve", ("shop", "r-2"), "POST", "/shop/rollouts/r-2/approve", None, rollout("running")),
    ("restart", ("shop",), "POST", "/shop/restart", None, RAN),
    ("scale", ("shop", 3), "POST", "/shop/scale", {"replicas": 3}, RAN),
    ("stop", ("shop",), "POST", "/shop/stop", None, RAN),
    ("start", ("shop",), "POST", "/shop/start", None, RAN),
    ("configure", ("shop", PATCH), "PATCH", "/shop", PATCH, RAN),
    ("pin", ("shop", "1.0"), "POST", "/shop/releases/1.0/pin", None, RELEASE),
    ("unpin", ("shop", "1.0"), "POST", "/shop/releases/1.0/unpin", None, RELEASE),
    ("prune", ("shop",), "POST", "/shop/prune", None, {"removed": ["1.0"], "freed_bytes": 7}),
    ("delete", ("shop",), "DELETE", "/shop", None, {"message": "shop is gone"}),
]  # fmt: skip


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


@pytest.mark.parametrize(("method", "args", "verb", "path", "body", "answer"), CALLS, ids=[row[0] for row in CALLS])
def test_a_changing_call_asks_for_a_revision_where_one_is_given(call, manager, method, args, verb, path, body, answer):
    manager.on(verb, path, Answer(body=answer))
    call(method, *args)
    call(method, *args, if_revision=7)
    without, with_it = manager.asked(verb, path)
    assert (without.body, with_it.body) == (body, body)
    assert ("if-match" in without.headers, with_it.headers["if-match"]) == (False, '"7"')


def test_a_revision_that_is_past_is_an_error_of_its_own(call, manager):
    manager.on("POST", "/shop/stop", Answer(412, envelope("PRECONDITION_FAILED", "no", revision=8)))
    with pytest.raises(PreconditionFailed) as caught:
        call("stop", "shop", if_revision=7)
    assert (caught.value.status, caught.value.details["revision"]) == (412, 8)


def test_a_request_that_is_sent_again_has_the_same_key_so_its_own_change_does_not_refuse_it(call, manager):
    location = {"Location": f"{ROOT}/shop/rollouts/r-2"}
    manager.on("PATCH", "/shop", Answer(drop=True), Answer(202, rollout("running"), location))
    manager.on("GET", "/shop/rollouts/r-2", Answer(body=RAN))
    assert call("configure", "shop", {"replicas": 3}, if_revision=7).success
    first, second = manager.asked("PATCH", "/shop")
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]


def test_what_is_pinned_stopped_and_pruned_is_read(call, manager):
    manager.on("GET", "/shop", Answer(body=status(revision=7, stopped=True)))
    manager.on("GET", "/shop/releases", Answer(body={"releases": [RELEASE]}))
    manager.on("POST", "/shop/prune", Answer(body={"removed": ["1.0"], "freed_bytes": 7}))
    found = call("get", "shop")
    assert (found.revision, found.stopped) == (7, True)
    (release,) = call("releases", "shop").releases
    assert (release.pinned, release.pinned_reason, release.size_bytes, release.raw) == (True, "old schema", 5, RELEASE)
    pruned = call("prune", "shop", keep=3)
    assert (pruned.removed, pruned.freed_bytes) == (("1.0",), 7)
    assert manager.asked("POST", "/shop/prune")[0].body == {"keep": 3}


def endpoints(revision, weight=100):
    target = {"instance": "shop-1-0", "version": "1.0", "host": "", "address": "10.0.0.5", "port": 7, "ready": True}
    pools = [{"pool": "stable", "version": "1.0", "weight": weight, "health_path": None, "targets": [target]}]
    return {"deployment": "shop", "revision": revision, "pools": pools, "serves": True, "port": 80, "router": "none"}


def test_endpoints_are_read_once_or_after_a_revision(call, manager):
    manager.on("GET", "/shop/endpoints", Answer(body=endpoints("a1")))
    found = call("endpoints", "shop")
    assert (found.revision, found.pools[0].weight, found.pools[0].targets[0].address) == ("a1", 100, "10.0.0.5")
    call("endpoints", "shop", after="a1")
    first, second = manager.asked("GET", "/shop/endpoints")
    assert ("wait" in first.query, second.query["wait"]) == (False, "a1")


def test_followed_endpoints_come_with_each_change_and_only_then(manager):
    answers = [Answer(body=endpoints(revision)) for revision in ("a1", "a1", "b2", "b2", "c3")]
    manager.on("GET", "/shop/endpoints", *answers)
    with Longshore(manager.url, "secret") as client:
        follow = client.follow_endpoints("shop")
        assert [next(follow).revision for _ in range(3)] == ["a1", "b2", "c3"]
    assert [asked.query.get("wait") for asked in manager.asked("GET", "/shop/endpoints")] == [
        None, "a1", "a1", "b2", "b2",
    ]  # fmt: skip
