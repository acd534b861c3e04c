"""The progress WebSocket, event streams and shutdown, over a real server."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from longshore.model import Role
from longshore.rollout.terms import Terms
from support.api_client import AUTH, TOKEN, Running, app_of, serving, until
from support.fake_access import tokens_in_memory
from support.fake_service import FakeService, spec

ROOT = "/api/v1/deployments"


@pytest.fixture
def service(tmp_path: Path) -> FakeService:
    return FakeService(root=tmp_path, instant=False)


@pytest.fixture
async def running(service: FakeService) -> AsyncIterator[Running]:
    async with serving(app_of(service, keep_alive=0.2)) as running:
        yield running


@pytest.fixture
async def impatient(service: FakeService) -> AsyncIterator[Running]:
    """Waits hardly at all for a rollout to begin."""
    async with serving(app_of(service, progress_wait=0.1)) as running:
        yield running


async def deploy(running: Running, name: str = "shop", version: str = "1.0") -> str:
    """Begin a rollout; its id."""
    async with httpx2.AsyncClient(base_url=running.url, headers=AUTH) as client:
        answer = await client.post(ROOT, json=spec(name, version), headers={"Prefer": "respond-async"})
        rollout_id: str = answer.json()["id"]
        return rollout_id


@asynccontextmanager
async def watching(running: Running, name: str = "shop", query: str = "") -> AsyncIterator[ClientConnection]:
    async with asyncio.timeout(30), connect(running.socket_url(name, query), additional_headers=AUTH) as socket:
        yield socket


async def receive(socket: ClientConnection) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(await socket.recv())
    return message


async def rest(socket: ClientConnection) -> tuple[list[dict[str, Any]], int]:
    """Every message until the server closes, and the code it closes with."""
    messages = []
    try:
        while True:
            messages.append(await receive(socket))
    except ConnectionClosed:
        return messages, socket.close_code or 0


# ----------------------------------------------------------------------------------------------- progress


async def test_history_comes_first_then_what_happens_live_then_the_close(
    running: Running, service: FakeService
) -> None:
    rollout = await deploy(running)
    service.say(rollout, "start_instances", pct=40)
    async with watching(running) as socket:
        history = [await receive(socket), await receive(socket)]
        assert [message["seq"] for message in history] == [1, 2]
        service.say(rollout, "health_check", pct=75)
        service.finish(rollout)
        live, code = await rest(socket)
    assert [message["step"] for message in live] == ["health_check", "commit"]
    assert (live[-1]["status"], live[-1]["progress_pct"], code) == ("success", 100, 1000)
    assert set(live[0]) == {"step", "status", "message", "progress_pct", "timestamp", "rollout_id", "seq"}


async def test_a_client_may_connect_before_the_first_deploy(running: Running, service: FakeService) -> None:
    async with watching(running) as socket:
        rollout = await deploy(running)
        service.finish(rollout)
        messages, code = await rest(socket)
    assert ([message["seq"] for message in messages], code) == ([1, 2], 1000)


async def test_a_name_without_a_rollout_is_closed_with_4404_after_an_error(impatient: Running) -> None:
    async with watching(impatient, "nope") as socket:
        (error,), code = await rest(socket)
    assert (error["error"]["code"], error["error"]["details"]["deployment"]) == ("DEPLOYMENT_NOT_FOUND", "nope")
    assert code == 4404


async def test_an_invalid_name_is_closed_at_once(service: FakeService) -> None:
    async with serving(app_of(service)) as running, watching(running, "Not-Valid") as socket:
        (error,), code = await rest(socket)
    assert (error["error"]["code"], code) == ("DEPLOYMENT_NOT_FOUND", 4404)


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}])
async def test_a_missing_or_wrong_token_is_closed_with_4401_after_an_error(
    running: Running, headers: dict[str, str]
) -> None:
    async with asyncio.timeout(30), connect(running.socket_url("shop"), additional_headers=headers) as socket:
        (error,), code = await rest(socket)
    assert (error["error"]["code"], code) == ("UNAUTHORIZED", 4401)


async def test_a_browser_may_give_the_token_as_a_subprotocol(running: Running, service: FakeService) -> None:
    service.finish(await deploy(running))
    url = running.socket_url("shop")
    async with asyncio.timeout(30), connect(url, subprotocols=["bearer", TOKEN]) as socket:  # type: ignore[list-item]
        assert socket.subprotocol == "bearer"
        assert (await receive(socket))["seq"] == 1


async def test_a_token_that_may_read_watches_on_after_it_is_revoked_and_not_again(service: FakeService) -> None:
    tokens = tokens_in_memory()
    _, text = tokens.create("eye", Role.read, None, None, by="admin")
    async with serving(app_of(service, tokens=tokens)) as running:
        rollout = await deploy(running)
        url = running.socket_url("shop")
        async with asyncio.timeout(30), connect(url, subprotocols=["bearer", text]) as socket:  # type: ignore[list-item]
            assert (await receive(socket))["rollout_id"] == rollout
            tokens.revoke("eye", by="admin")
            service.finish(rollout)
            assert (await rest(socket))[1] == 1000
        async with asyncio.timeout(30), connect(url, subprotocols=["bearer", text]) as socket:  # type: ignore[list-item]
            assert (await rest(socket))[1] == 4401


async def test_a_wrong_token_as_a_subprotocol_is_4401(running: Running) -> None:
    url = running.socket_url("shop")
    async with asyncio.timeout(30), connect(url, subprotocols=["bearer", "wrong"]) as socket:  # type: ignore[list-item]
        assert (await rest(socket))[1] == 4401


async def test_a_rollout_is_resumed_after_the_last_seq_received(running: Running, service: FakeService) -> None:
    rollout = await deploy(running)
    service.say(rollout, "start_instances")
    service.finish(rollout)
    async with watching(running, query=f"?rollout={rollout}&after=1") as socket:
        messages, code = await rest(socket)
    assert ([message["seq"] for message in messages], code) == ([2, 3], 1000)


async def test_a_named_rollout_shows_no_other(running: Running, service: FakeService) -> None:
    first = await deploy(running)
    service.finish(first)
    second = await deploy(running, version="2.0")
    async with watching(running, query=f"?rollout={first}") as socket:
        messages, _ = await rest(socket)
    assert {message["rollout_id"] for message in messages} == {first}
    service.finish(second)


async def test_a_message_that_is_in_the_history_already_does_not_come_again(
    running: Running, service: FakeService
) -> None:
    rollout = await deploy(running)
    async with watching(running) as socket:
        await receive(socket)
        service.bus.publish(service.messages[rollout][0])
        service.finish(rollout)
        messages, _ = await rest(socket)
    assert [message["seq"] for message in messages] == [2]


async def test_an_unknown_rollout_is_4404(running: Running, service: FakeService) -> None:
    await deploy(running)
    async with watching(running, query="?rollout=nope") as socket:
        (error,), code = await rest(socket)
    assert (error["error"]["code"], code) == ("NOT_FOUND", 4404)


async def test_an_after_that_is_no_number_is_4400(running: Running, service: FakeService) -> None:
    async with watching(running, query="?after=x") as socket:
        (error,), code = await rest(socket)
    assert (error["error"]["code"], code) == ("INVALID_DEPLOYMENT_SPEC", 4400)


async def test_after_a_finished_rollout_the_next_one_is_shown(running: Running, service: FakeService) -> None:
    service.finish(await deploy(running))
    async with watching(running) as socket:
        assert [(await receive(socket))["seq"] for _ in range(2)] == [1, 2]
        second = await deploy(running, version="2.0")
        service.finish(second)
        messages, code = await rest(socket)
    assert ({message["rollout_id"] for message in messages}, code) == ({second}, 1000)


async def test_after_a_finished_rollout_without_a_next_one_the_socket_is_closed_normally(
    impatient: Running, service: FakeService
) -> None:
    service.finish(await deploy(impatient))
    async with watching(impatient) as socket:
        messages, code = await rest(socket)
    assert (len(messages), code) == (2, 1000)


async def test_follow_shows_one_rollout_after_the_other(running: Running, service: FakeService) -> None:
    service.finish(await deploy(running))
    async with watching(running, query="?follow=1") as socket:
        for version in ("2.0", "3.0"):
            service.finish(await deploy(running, version=version))
        seen = [(await receive(socket))["rollout_id"] for _ in range(6)]
    assert seen == ["r-1", "r-1", "r-2", "r-2", "r-3", "r-3"]


async def test_a_client_that_leaves_is_forgotten(running: Running, service: FakeService) -> None:
    await deploy(running)
    async with watching(running) as socket:
        await receive(socket)
        assert service.bus._subscribers
    await until(lambda: not service.bus._subscribers)


async def test_a_client_that_never_reads_slows_nothing_and_still_gets_the_end(
    running: Running, service: FakeService
) -> None:
    rollout = await deploy(running)
    async with watching(running) as socket:
        for number in range(20_000):
            service.say(rollout, f"step {number} " + "x" * 500, pct=50)
            if number % 500 == 0:
                await asyncio.sleep(0)
        service.finish(rollout)
        messages, code = await rest(socket)
    assert len(messages) < 20_000
    assert (messages[-1]["progress_pct"], code) == (100, 1000)


# ----------------------------------------------------------------------------------------------- event streams


async def events(response: httpx2.Response) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """(kind, data) of a stream; comments are ("alive", {})."""
    kind = "message"
    async for line in response.aiter_lines():
        if line.startswith(":"):
            yield "alive", {}
        elif line.startswith("event: "):
            kind = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield kind, json.loads(line.removeprefix("data: "))
            kind = "message"


@asynccontextmanager
async def streaming(running: Running, path: str, **headers: str) -> AsyncIterator[httpx2.Response]:
    async with (
        asyncio.timeout(30),
        httpx2.AsyncClient(base_url=running.url, headers={**AUTH, **headers}) as client,
        client.stream("GET", path) as response,
    ):
        assert response.headers["content-type"].startswith("text/event-stream")
        yield response


async def collect(response: httpx2.Response, count: int, kind: str = "message") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    async for each, data in events(response):
        if each == kind:
            found.append(data)
            if len(found) == count:
                return found
    raise AssertionError(f"the stream ended after {len(found)} of {count}")


async def test_events_of_all_deployments_are_streamed(running: Running, service: FakeService) -> None:
    await deploy(running, "old")
    async with streaming(running, "/api/v1/events") as response:
        await deploy(running, "shop")
        service.happen("old", "it crashed")
        seen = await collect(response, 2, "event")
    assert {(event["deployment"], event["message"]) for event in seen} == {
        ("shop", "fetch_artifact running"),
        ("old", "it crashed"),
    }


async def test_progress_of_all_deployments_is_streamed(running: Running, service: FakeService) -> None:
    async with streaming(running, "/api/v1/events") as response:
        await deploy(running, "shop")
        (progress,) = await collect(response, 1, "progress")
    assert (progress["deployment"], progress["step"]) == ("shop", "fetch_artifact")


async def test_an_event_stream_is_resumed_after_the_last_event_received(running: Running, service: FakeService) -> None:
    await deploy(running)
    for number in range(4):
        service.happen("shop", str(number))
    async with streaming(running, "/api/v1/events", **{"Last-Event-ID": "3"}) as response:
        assert [event["message"] for event in await collect(response, 2, "event")] == ["2", "3"]


async def test_the_events_of_one_deployment_are_followed_and_resumed(running: Running, service: FakeService) -> None:
    await deploy(running)
    await deploy(running, "other")
    for number in range(250):
        service.happen("shop", str(number))
    first = len([event for event in service.history if event.deployment == "shop"]) - 250
    after = str(service.events("shop", limit=500, before=None)[-first - 1].id)
    async with streaming(running, f"{ROOT}/shop/events?follow=true", **{"Last-Event-ID": after}) as response:
        service.happen("other", "elsewhere")
        service.happen("shop", "here")
        seen = await collect(response, 250, "event")
    assert [event["message"] for event in seen] == [*map(str, range(1, 250)), "here"]


@pytest.mark.parametrize(("path", "last", "status"), [("nope", "1", 404), ("shop", "x", 400)])
async def test_what_cannot_be_followed_is_an_error(running: Running, path: str, last: str, status: int) -> None:
    await deploy(running)
    async with httpx2.AsyncClient(base_url=running.url, headers={**AUTH, "Last-Event-ID": last}) as client:
        answer = await client.get(f"{ROOT}/{path}/events?follow=true")
    assert answer.status_code == status


async def test_a_silent_stream_says_that_it_is_alive(running: Running) -> None:
    async with streaming(running, "/api/v1/events") as response:
        alive = 0
        async for kind, _ in events(response):
            alive += kind == "alive"
            if alive == 3:
                return


async def test_logs_are_the_last_lines_of_each_instance(running: Running, service: FakeService) -> None:
    await deploy(running)
    (service.root / "shop-1-1.log").write_text("one\ntwo\nthree\n")
    async with httpx2.AsyncClient(base_url=running.url, headers=AUTH) as client:
        answer = await client.get(f"{ROOT}/shop/logs?tail=2")
        missing = await client.get(f"{ROOT}/shop/logs?instance=nope")
    assert [line["line"] for line in answer.json()["lines"]] == ["two", "three"]
    assert answer.json()["lines"][0]["instance"] == "shop-1-1"
    assert missing.status_code == 404


async def test_logs_are_followed_also_those_of_instances_that_start_later(
    running: Running, service: FakeService
) -> None:
    service.finish(await deploy(running))
    log = service.root / "shop-1-1.log"
    log.write_text("one\ntwo\n")
    async with streaming(running, f"{ROOT}/shop/logs?follow=true&tail=1") as response:
        lines = events(response)
        found = []
        async for kind, data in lines:
            if kind == "alive":
                continue
            found.append((data["instance"], data["line"]))
            if len(found) == 1:
                with log.open("a") as file:
                    file.write("three\n")
            if len(found) == 2:
                await deploy(running, version="2.0")
                (service.root / "shop-2-1.log").write_text("hello\n")
            if len(found) == 3:
                break
    assert found == [("shop-1-1", "two"), ("shop-1-1", "three"), ("shop-2-1", "hello")]


async def test_logs_since_some_time_are_those_of_instances_that_are_gone_as_well(
    running: Running, service: FakeService
) -> None:
    await deploy(running)
    old, new = service.root / "shop-0-0.log", service.root / "shop-1-1.log"
    old.write_text("gone\n")
    new.write_text("here\n")
    async with httpx2.AsyncClient(base_url=running.url, headers=AUTH) as client:
        found = (await client.get(f"{ROOT}/shop/logs?since=1m")).json()["lines"]
        alone = (await client.get(f"{ROOT}/shop/logs?instance=shop-0-0")).json()["lines"]
        now = time.time()
        os.utime(old, (now - 3600, now - 3600))
        lately = (await client.get(f"{ROOT}/shop/logs?since=1m")).json()["lines"]
        wrong = await client.get(f"{ROOT}/shop/logs?since=yesterday")
        naive = await client.get(f"{ROOT}/shop/logs?since=2026-01-31T09:15:00")
    assert [(each["instance"], each["line"]) for each in found] == [("shop-0-0", "gone"), ("shop-1-1", "here")]
    assert datetime.fromisoformat(found[0]["time"]).timestamp() == pytest.approx(time.time(), abs=30)
    assert [each["line"] for each in alone] == ["gone"]
    assert [each["line"] for each in lately] == ["here"]
    assert (wrong.status_code, naive.status_code) == (400, 400)
    assert "10m" in wrong.json()["error"]["message"]


async def test_a_stream_of_logs_says_when_it_is_over(running: Running, service: FakeService) -> None:
    service.finish(await deploy(running))
    (service.root / "shop-0-0.log").write_text("gone\n")
    async with streaming(running, f"{ROOT}/shop/logs?follow=true&instance=shop-0-0") as response:
        found = [kind async for kind, _ in events(response) if kind != "alive"]
    assert found == ["message", "end"]
    async with streaming(running, f"{ROOT}/shop/logs?follow=true") as response:
        await service.delete("shop", keep_files=False, terms=Terms("test"))
        assert [kind async for kind, _ in events(response) if kind != "alive"][-1] == "end"


async def test_a_stream_of_events_begins_with_the_id_to_go_on_from_and_ends_with_the_deployment(
    running: Running, service: FakeService
) -> None:
    service.finish(await deploy(running))
    async with streaming(running, f"{ROOT}/shop/events?follow=true") as response:
        kinds = []
        async for kind, _ in events(response):
            kinds.append(kind)
            if kind == "begin":
                await service.delete("shop", keep_files=False, terms=Terms("test"))
    assert [kind for kind in kinds if kind not in ("alive", "progress")] == ["begin", "end"]


async def test_the_output_of_hooks_is_read_while_they_run_until_the_rollout_is_over(
    running: Running, service: FakeService
) -> None:
    rollout = await deploy(running)
    number = service.known[rollout].number
    log = service.root / f"rollout-{number}-pre_deploy.log"
    log.write_text("one\ntw")
    found: list[Any] = []
    async with streaming(running, f"{ROOT}/shop/rollouts/{rollout}/hooks?follow=true") as response:
        async for kind, data in events(response):
            if kind == "alive":
                continue
            found.append(data.get("line", kind))
            if len(found) == 1:
                with log.open("a") as file:
                    file.write("o\nthree")
            if len(found) == 2:
                service.finish(rollout)
    assert found == ["one", "two", "three", "end"]
    async with httpx2.AsyncClient(base_url=running.url, headers=AUTH) as client:
        answer = await client.get(f"{ROOT}/shop/rollouts/{rollout}/hooks?tail=2")
        unknown = await client.get(f"{ROOT}/shop/rollouts/nope/hooks")
    assert answer.json() == {
        "lines": [{"phase": "pre_deploy", "line": "two"}, {"phase": "pre_deploy", "line": "three"}]
    }
    assert unknown.status_code == 404


async def test_a_stream_whose_client_leaves_is_forgotten(running: Running, service: FakeService) -> None:
    async with streaming(running, "/api/v1/events") as response:
        async for _ in events(response):
            break
        assert service.bus._subscribers
    await until(lambda: not service.bus._subscribers)


# ----------------------------------------------------------------------------------------------- shutdown


async def test_nothing_that_waits_keeps_the_server_from_stopping(service: FakeService, tmp_path: Path) -> None:
    async with serving(app_of(service)) as running:
        await deploy(running, "busy")
        async with (
            httpx2.AsyncClient(base_url=running.url, headers=AUTH, timeout=30) as client,
            watching(running, "busy") as socket,
            streaming(running, "/api/v1/events") as stream,
            streaming(running, f"{ROOT}/busy/logs?follow=true") as logs,
        ):
            waiting = asyncio.create_task(client.post(ROOT, json=spec()))
            await receive(socket)
            await until(lambda: "shop" in service.deployments)
            began = time.monotonic()
            running.server.should_exit = True
            answer = await waiting
            assert (answer.status_code, answer.json()["error"]["code"]) == (500, "INTERNAL_ERROR")
            assert (await rest(socket))[1] == 1012
            async for _ in stream.aiter_bytes():
                pass
            async for _ in logs.aiter_bytes():
                pass
            await running.task
            assert time.monotonic() - began < 5
