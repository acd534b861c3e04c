"""What a client says of a rollout in progress, waits for, and approves: both clients alike."""

import asyncio

import pytest

from longshore.client import AsyncLongshore, DeploymentAborted, Longshore, NotFound
from support.fake_manager import ROOT, TIME, Answer, Socket, progress, rollout, status

LOCATION = {"Location": f"{ROOT}/shop/rollouts/r-2"}
WAITING = {
    "rollout_id": "r-2", "kind": "deploy", "version": "2.0", "requested_by": "ana", "since": TIME, "expires_at": TIME,
    "waiting_for": "approval", "message": "Waits for the approval of somebody else, at most 24h0m0s.",
}  # fmt: skip
QUEUED = rollout("queued", waiting_for="turn", message="Waits for its turn.")
RAN = rollout("succeeded")
#: method, its arguments, HTTP method, path, body without a word of conflicts
CALLS = [
    ("deploy", ({"name": "shop"},), "POST", "", {"name": "shop"}),
    ("restart", ("shop",), "POST", "/shop/restart", None),
    ("scale", ("shop", 3), "POST", "/shop/scale", {"replicas": 3}),
    ("stop", ("shop",), "POST", "/shop/stop", None),
    ("start", ("shop",), "POST", "/shop/start", None),
    ("configure", ("shop", {"replicas": 3}), "PATCH", "/shop", {"replicas": 3}),
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


@pytest.mark.parametrize(("method", "args", "verb", "path", "body"), CALLS, ids=[row[0] for row in CALLS])
def test_what_is_to_become_of_a_conflict_stands_in_the_body(call, manager, method, args, verb, path, body):
    manager.on(verb, path, Answer(body=RAN))
    call(method, *args)
    call(method, *args, on_conflict="queue", queue_timeout="30m")
    call(method, *args, on_conflict="supersede", queue_timeout=90)
    plain, queued, newer = (seen.body for seen in manager.asked(verb, path))
    assert plain == body
    assert queued == {**(body or {}), "on_conflict": "queue", "queue_timeout": "30m"}
    assert newer == {**(body or {}), "on_conflict": "supersede", "queue_timeout": 90}


def test_what_waits_for_its_turn_is_waited_for(call, manager):
    manager.on("POST", "/shop/restart", Answer(202, QUEUED, LOCATION))
    manager.on("GET", "/shop/rollouts/r-2", Answer(body=RAN))
    manager.sockets = [Socket([progress(0, 0, step="queue"), progress(1, 40), progress(2, 100, status="success")])]
    told = []
    assert call("restart", "shop", on_conflict="queue", on_progress=told.append).success
    assert [(message.seq, message.step) for message in told] == [(0, "queue"), (1, "start"), (2, "start")]


def test_what_is_cancelled_while_it_waits_is_an_error_that_says_why(call, manager):
    manager.on("POST", "/shop/restart", Answer(202, QUEUED, LOCATION))
    error = {"code": "DEPLOYMENT_ABORTED", "message": "ben asked for a deploy of 3.0 instead.", "details": {}}
    manager.on("GET", "/shop/rollouts/r-2", Answer(body=rollout("cancelled", success=False, error=error)))
    with pytest.raises(DeploymentAborted, match=r"ben asked for a deploy of 3\.0 instead"):
        call("restart", "shop", on_conflict="queue")


def test_what_needs_an_approval_is_not_waited_for(call, manager):
    manager.on("POST", "", Answer(202, rollout("queued", waiting_for="approval"), LOCATION))
    asked = call("deploy", {"name": "shop"})
    assert (asked.status, asked.waiting_for, asked.is_over, asked.success) == ("queued", "approval", False, None)
    assert manager.asked("GET", "/shop/rollouts/r-2") == []


def test_an_approval_finds_the_one_that_waits_for_it(call, manager):
    turn = {**WAITING, "rollout_id": "r-1", "waiting_for": "turn"}
    manager.on("GET", "/shop", Answer(body=status(queue=[turn, WAITING])))
    manager.on("POST", "/shop/rollouts/r-2/approve", Answer(body=rollout("running", approved_by="ben")))
    assert call("approve", "shop", comment="fine", queue_timeout="5m").approved_by == "ben"
    assert manager.asked("POST", "/shop/rollouts/r-2/approve")[0].body == {"comment": "fine", "queue_timeout": "5m"}


@pytest.mark.parametrize(
    ("queue", "message"),
    [([], "nothing of shop waits for an approval"), ([WAITING, WAITING], "so say which: r-2 (deploy of 2.0 by ana)")],
)
def test_an_approval_of_none_or_of_several_changes_nothing(call, manager, queue, message):
    manager.on("GET", "/shop", Answer(body=status(queue=queue)))
    with pytest.raises(NotFound) as caught:
        call("approve", "shop")
    assert message in str(caught.value)
    assert [seen.method for seen in manager.seen] == ["GET"]


def test_the_queue_is_read(call, manager):
    manager.on("GET", "/shop", Answer(body=status(queue=[WAITING])))
    (waiting,) = call("get", "shop").queue
    assert (waiting.rollout_id, waiting.version, waiting.waiting_for) == ("r-2", "2.0", "approval")
    assert waiting.message == "Waits for the approval of somebody else, at most 24h0m0s."
