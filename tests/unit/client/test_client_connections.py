"""Both clients against real HTTP, WebSockets and server-sent events."""

import asyncio
import subprocess
import sys

import pytest

from longshore.client import (
    AsyncLongshore,
    ConnectionLost,
    DeploymentNotFound,
    HealthCheckFailed,
    Longshore,
    ManagerUnreachable,
    Unauthorized,
    UnexpectedAnswer,
)
from support.fake_manager import ROOT, Answer, Socket, envelope, failed_rollout, progress, rollout, status, summary

LOCATION = {"Location": f"{ROOT}/shop/rollouts/r-2"}


class Both:
    """The sync client's methods, carried out by either client; a stream is a list."""

    def __init__(self, kind, url):
        self.kind, self.url = kind, url

    def __getattr__(self, name):
        def call(*args, **kwargs):
            if self.kind == "sync":
                with Longshore(self.url, "secret", patience=5.0) as client:
                    answer = getattr(client, name)(*args, **kwargs)
                    return list(answer) if hasattr(answer, "__next__") else answer

            async def run():
                async with AsyncLongshore(self.url, "secret", patience=5.0) as client:
                    answer = getattr(client, name)(*args, **kwargs)
                    return [item async for item in answer] if hasattr(answer, "__anext__") else await answer

            return asyncio.run(asyncio.wait_for(run(), 30))

        return call


@pytest.fixture(params=["sync", "async"])
def client(request, manager):
    return Both(request.param, manager.url)


def test_a_status_is_read_with_the_token(client, manager):
    manager.on("GET", "/shop", Answer(body=status()))
    found = client.get("shop")
    assert (found.name, found.replicas.desired, found.events[0].type) == ("shop", 3, "info")
    assert manager.seen[0].headers["authorization"] == "Bearer secret"
    assert found.raw == status()


def test_a_deploy_survives_a_request_and_a_websocket_that_are_cut(client, manager):
    manager.on("POST", "", Answer(drop=True), Answer(202, rollout("running"), LOCATION))
    manager.on("GET", "/shop/rollouts/r-2", Answer(body=rollout("running")), Answer(body=rollout()))
    manager.sockets = [
        Socket([progress(1, 10), progress(2, 20)], code=1012),
        Socket([progress(2, 20), progress(3, 100, status="success")]),
    ]
    seen = []
    result = client.deploy(name="shop", version="1.1", artifact_path="/x", on_progress=seen.append)
    assert result.success is True
    assert [message.seq for message in seen] == [1, 2, 3]
    assert manager.socket_queries[1] == {"rollout": "r-2", "after": "2", "authorization": "Bearer secret"}
    first, second = manager.asked("POST", "")
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]


def test_a_deploy_survives_a_manager_that_restarts(client, manager):
    manager.on("POST", "", Answer(202, rollout("running"), LOCATION))

    def restart(seen):
        manager.on("GET", "/shop/rollouts/r-2", Answer(body=rollout()))
        return Answer(drop=True)

    manager.on("GET", "/shop/rollouts/r-2", restart)
    manager.sockets = [Socket([progress(1, 10)], code=None)]
    assert client.deploy(name="shop", version="1.1", artifact_path="/x").success is True


def test_a_failed_deploy_raises_what_failed(client, manager):
    manager.on("POST", "", Answer(202, rollout("running"), LOCATION))
    manager.on("GET", "/shop/rollouts/r-2", Answer(body=failed_rollout()))
    with pytest.raises(HealthCheckFailed):
        client.deploy(name="shop", version="1.1", artifact_path="/x")


def test_watching_hands_out_the_messages(client, manager):
    manager.sockets = [Socket([progress(1, 10), progress(2, 100, status="failed")])]
    assert [message.last for message in client.watch("shop")] == [False, True]


def test_watching_an_unknown_name_is_the_managers_error(client, manager):
    manager.sockets = [Socket([envelope("DEPLOYMENT_NOT_FOUND", "no such thing")], code=4404)]
    with pytest.raises(DeploymentNotFound, match="no such thing"):
        client.watch("shop")


def test_logs_are_followed_to_the_end_of_the_stream(client, manager):
    lines = [{"instance": "shop-1-0", "line": "one"}, {"instance": "shop-1-1", "line": "zwei ü"}]
    manager.on("GET", "/shop/logs", Answer(events=lines))
    assert [(line.instance, line.line) for line in client.follow_logs("shop", tail=5)] == [
        ("shop-1-0", "one"), ("shop-1-1", "zwei ü")]  # fmt: skip
    assert manager.seen[0].query == {"follow": "true", "tail": "5"}


def test_logs_of_an_unknown_name_are_the_managers_error(client, manager):
    manager.on("GET", "/shop/logs", Answer(404, envelope("DEPLOYMENT_NOT_FOUND")))
    with pytest.raises(DeploymentNotFound):
        client.follow_logs("shop")


def test_a_wrong_token_is_unauthorized(client, manager):
    manager.on("GET", "", Answer(401, envelope("UNAUTHORIZED", "no")))
    with pytest.raises(Unauthorized):
        client.list()


def test_all_deployments_are_iterated(client, manager):
    rows = [summary("a"), summary("b")]
    manager.on("GET", "", Answer(body={"deployments": rows, "total": 2, "limit": 200, "offset": 0}))
    assert [row.name for row in client.list_all()] == ["a", "b"]


def test_a_connection_that_breaks_twice_is_lost(client, manager):
    manager.on("GET", "/shop", Answer(drop=True))
    with pytest.raises(ConnectionLost, match="longshore status"):
        client.get("shop")


def test_another_server_is_not_taken_for_a_manager(client, manager):
    manager.on("GET", "/shop", Answer(200, "<html>hello</html>"))
    with pytest.raises(UnexpectedAnswer):
        client.get("shop")


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_nobody_at_the_url_is_said_with_the_url(kind, manager):
    manager.stop()
    with pytest.raises(ManagerUnreachable, match=f"{manager.url}.*longshore serve"):
        Both(kind, manager.url).get("shop")


def test_leaving_a_watch_early_closes_its_connection(manager):
    manager.sockets = [Socket([progress(n, n) for n in range(1, 50)])]
    with Longshore(manager.url, "t") as client:
        for message in client.watch("shop"):
            assert message.seq == 1
            break


async def test_a_connection_that_breaks_as_it_is_made_is_none(manager, monkeypatch):
    async with AsyncLongshore(manager.url, "secret", patience=0.0) as client:

        async def without_a_socket(*_, **__):
            raise AttributeError("'NoneType' object has no attribute 'getpeername'")

        monkeypatch.setattr(client._carrier._http, "request", without_a_socket)
        with pytest.raises(ManagerUnreachable, match="broke as it was made"):
            await client.get("shop")


async def test_cancelling_a_wait_ends_it(manager):
    manager.on("POST", "", Answer(202, rollout("running"), LOCATION))
    manager.on("GET", "/shop/rollouts/r-2", Answer(body=rollout("running")))
    async with AsyncLongshore(manager.url, "t") as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await client.deploy(name="shop", version="1", artifact_path="/x")


def test_the_client_imports_nothing_of_the_server():
    code = (
        "import sys; from longshore.client import Longshore, AsyncLongshore;"
        "heavy = {'fastapi', 'starlette', 'pydantic', 'uvicorn', 'sqlite3', 'longshore.model'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
