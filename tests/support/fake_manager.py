"""A manager for tests of the client and the command line: real HTTP, WebSockets and SSE, scripted answers."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

ROOT = "/api/v1/deployments"
TIME = "2026-03-01T12:00:00.000Z"
LATER = "2026-03-01T12:00:02.500Z"


@dataclass
class Seen:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


@dataclass
class Answer:
    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    #: close the connection instead of answering
    drop: bool = False
    #: a stream of them; (id, kind, data) or data alone
    events: list[Any] | None = None
    #: the stream says at its end that nothing follows; else the connection just ends
    over: bool = True


@dataclass
class Socket:
    """messages, then a close with `code`; None cuts the connection without one."""

    messages: list[Any] = field(default_factory=list)
    code: int | None = 1000


class FakeManager:
    def __init__(self) -> None:
        self.seen: list[Seen] = []
        #: (method, path below ROOT) → answers, the last of which is given for ever
        self.answers: dict[tuple[str, str], list[Answer | Callable[[Seen], Answer]]] = {}
        self.sockets: list[Socket] = []
        self.socket_queries: list[dict[str, str]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def on(self, method: str, path: str, *answers: Answer | Callable[[Seen], Answer]) -> None:
        self.answers[(method, path)] = list(answers)

    def asked(self, method: str, path: str) -> list[Seen]:
        return [seen for seen in self.seen if (seen.method, seen.path) == (method, ROOT + path)]

    def start(self) -> None:
        app = Starlette(
            routes=[
                WebSocketRoute(ROOT + "/{name}/progress", self._progress),
                Route("/{path:path}", self._http, methods=["GET", "POST", "DELETE", "PUT", "PATCH"]),
            ]
        )
        config = uvicorn.Config(
            app, log_level="critical", ws="websockets-sansio", lifespan="off", timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._listener]})
        self._thread.start()
        until = time.monotonic() + 10
        while not self._server.started:
            assert time.monotonic() < until, "the fake manager did not start within 10 s"
            time.sleep(0.005)

    def stop(self) -> None:
        if self._server is None or self._thread is None:
            return
        self._server.should_exit = True
        self._thread.join(10)
        assert not self._thread.is_alive(), "the fake manager did not stop within 10 s"
        self._server = None

    def start_again(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.start()

    async def _http(self, request: Request) -> Response:
        raw = await request.body()
        seen = Seen(
            request.method,
            request.url.path,
            dict(request.query_params),
            dict(request.headers),
            json.loads(raw) if raw else None,
        )
        self.seen.append(seen)
        key = (seen.method, seen.path.removeprefix(ROOT) if seen.path.startswith(ROOT) else seen.path)
        script = self.answers.get(key)
        if not script:
            return _json(Answer(404, envelope("NOT_FOUND", f"nothing at {seen.path}")))
        entry = script.pop(0) if len(script) > 1 else script[0]
        answer = entry(seen) if callable(entry) else entry
        if answer.drop:
            return _Dropped()
        if answer.events is not None:
            return StreamingResponse(_sse(answer.events, answer.over), media_type="text/event-stream")
        return _json(answer)

    async def _progress(self, websocket: WebSocket) -> None:
        authorization = websocket.headers.get("authorization", "")
        self.socket_queries.append({**websocket.query_params, "authorization": authorization})
        if not self.sockets:
            await websocket.close(1000)
            return
        script = self.sockets.pop(0)
        await websocket.accept()
        for message in script.messages:
            if callable(message):
                await asyncio.to_thread(message)
            else:
                await websocket.send_text(message if isinstance(message, str) else json.dumps(message))
        if script.code is not None:
            await websocket.close(script.code)


class _Dropped(Response):
    """Ends the connection in the middle of the answer."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"100")]})
        await send({"type": "http.response.body", "body": b"{", "more_body": False})


async def _sse(events: list[Any], over: bool) -> Any:
    yield b": hello\n\n"
    for event in events:
        id, kind, data = event if isinstance(event, tuple) else ("", "message", event)
        yield f"{f'id: {id}{chr(10)}' if id else ''}event: {kind}\ndata: {json.dumps(data)}\n\n".encode()
    if over:
        yield b"event: end\ndata: {}\n\n"


def _json(answer: Answer) -> Response:
    body = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
    return Response(body, answer.status, {"content-type": "application/json", **answer.headers})


# --------------------------------------------------------------------------------------------- bodies


def envelope(code: str, message: str = "it went wrong", **details: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "details": details, "timestamp": TIME}}


def rollout(status: str = "succeeded", **changes: Any) -> dict[str, Any]:
    over = status not in ("queued", "running", "paused", "unwinding", "committed")
    good = status == "succeeded"
    body = {
        "id": "r-2",
        "deployment": "shop",
        "number": 2,
        "kind": "deploy",
        "version": "1.1",
        "previous_version": "1.0",
        "strategy": "rolling",
        "status": status,
        "requested_by": "admin",
        "start_time": TIME,
        "end_time": LATER if over else None,
        "duration": "2.5s",
        "success": good if over else None,
        "message": "shop runs 1.1" if good else "",
        "error": None,
        "steps": [step("fetch_artifact"), step("start_instance shop-2-0", **({} if good else {"status": "running"}))],
        "progress_pct": 100 if over else 40,
    }
    return body | changes


def failed_rollout(**changes: Any) -> dict[str, Any]:
    error = {
        "code": "HEALTH_CHECK_FAILED",
        "message": "instance shop-2-0 was not ready within 5 s",
        "details": {
            "deployment": "shop",
            "operation": "wait_ready",
            "cause": "last probe GET :8102/up answered 503\nTraceback: boom",
            "rolled_back": True,
        },
    }
    steps = [
        step("fetch_artifact"),
        step("wait_ready", status="failed", error="not ready within 5 s"),
        step("fetch_artifact", undo=True),
    ]
    return rollout("unwound", message="rolled back to 1.0", error=error, steps=steps) | changes


def step(name: str, **changes: Any) -> dict[str, Any]:
    body = {"name": name, "status": "completed", "message": "", "start_time": TIME, "end_time": LATER, "error": ""}
    return body | {"undo": False} | changes


def progress(seq: int, pct: int, *, status: str = "running", step: str = "start", **changes: Any) -> dict[str, Any]:
    body = {"step": step, "status": status, "message": f"message {seq}", "progress_pct": pct, "timestamp": TIME}
    return body | {"rollout_id": "r-2", "seq": seq} | changes


def event(message: str, kind: str = "info", number: int = 1) -> dict[str, Any]:
    return {"timestamp": TIME, "type": kind, "message": message, "source": "engine", "id": number, "rollout_id": "r-2"}


def status(**changes: Any) -> dict[str, Any]:
    body = {
        "name": "shop",
        "version": "1.1",
        "environment": "default",
        "state": "healthy",
        "health": "healthy",
        "last_updated": TIME,
        "replicas": {"desired": 3, "available": 3, "ready": 3, "updated": 3},
        "configuration": {"COLOUR": "blue", "API_TOKEN": "***"},
        "events": [event("shop runs 1.1")],
    }
    return body | changes


def summary(name: str, **changes: Any) -> dict[str, Any]:
    body = {"name": name, "version": "1.0", "environment": "default", "state": "healthy", "health": "healthy"}
    return body | {"updated_at": TIME} | changes
