"""The WebSocket of a deployment: history first, then live; see docs/api.md, Progress.

A reader task and a writer task, the first to end cancels the other: a socket that is only written to would keep the
server from exiting, and nobody would notice that its client has left.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from longshore.api.auth import authenticate, check_token
from longshore.api.context import Api, api_of
from longshore.api.deployments import valid_name
from longshore.api.guard import address_of
from longshore.api.problems import problem_of, respond
from longshore.api.wire import dumps, error_json, progress_json
from longshore.bus import Subscription
from longshore.errors import DeploymentNotFound, Forbidden, Issue, LongshoreError, NotFound, SpecInvalid, Unauthorized
from longshore.model import Progress

DONE, GOING_AWAY, INTERNAL = 1000, 1012, 1011
UNAUTHORIZED, FORBIDDEN, NOT_FOUND, BAD_REQUEST = 4401, 4403, 4404, 4400

_CLOSE_CODES: dict[type[LongshoreError], int] = {
    Unauthorized: UNAUTHORIZED,
    Forbidden: FORBIDDEN,
    DeploymentNotFound: NOT_FOUND,
    NotFound: NOT_FOUND,
    SpecInvalid: BAD_REQUEST,
}

_AFTER = re.compile(r"\d{1,9}")


async def progress(socket: WebSocket) -> None:
    """Progress of a deployment's rollouts, message by message."""
    api, name = api_of(socket), socket.path_params["name"]
    offered = socket.scope.get("subprotocols", [])
    await socket.accept(subprotocol="bearer" if "bearer" in offered else None)
    try:
        _authenticate(socket, api, offered)
        await _first_to_end(_listen(socket), _stopped(api), _serve(socket, api, name))
        await socket.close(GOING_AWAY if api.stopping.is_set() else DONE)
    except WebSocketDisconnect:
        return
    except Exception as exc:
        problem = problem_of(exc)
        problem.deployment, problem.operation = problem.deployment or name, problem.operation or "progress"
        await _refuse(socket, problem, api.now())


async def nowhere(socket: WebSocket) -> None:
    """There is but one WebSocket: the handshake of any other is refused as a request of that path would be."""
    problem: LongshoreError = NotFound()
    try:
        api = api_of(socket)
        _authenticate(socket, api, socket.scope.get("subprotocols", []))
    except LongshoreError as refusal:
        problem = refusal
    await socket.send_denial_response(respond(problem))


# --- private


def _authenticate(socket: WebSocket, api: Api, offered: list[str]) -> None:
    """A browser cannot set headers on a WebSocket; it offers the subprotocols `bearer` and the token instead."""
    if api.settings.token is not None and "authorization" not in socket.headers and "bearer" in offered:
        check_token(next((word for word in offered if word != "bearer"), ""), api.settings)
    else:
        authenticate(socket.headers, address_of(socket), api.settings)


async def _serve(socket: WebSocket, api: Api, name: str) -> None:
    """Send until there is nothing to wait for.

    Without `rollout`, a finished last rollout is shown and the next one awaited as long as a first one would be: the
    client may have connected just before its POST. `follow` waits for ever, a `rollout` ends with that rollout.
    """
    valid_name(name)
    query = socket.query_params
    rollout_id, follow = query.get("rollout") or None, query.get("follow", "") in ("1", "true")
    after = query.get("after") or "0"
    if not _AFTER.fullmatch(after):
        raise SpecInvalid(issues=[Issue("after", "must be the seq of the last message that was received")])
    if rollout_id is not None:
        api.service.rollout(name, rollout_id)  # raises NotFound before anything is watched
    subscription = api.service.watch(name, rollout_id, int(after))
    busy = _in_progress(api, name, rollout_id)
    try:
        for message in subscription.history:
            await _send(socket, message)
        if subscription.history and subscription.history[-1].last:
            busy = False
        if rollout_id is not None and not busy and not follow:
            return
        wait = None if busy or (follow and _exists(api, name)) else api.settings.progress_wait
        await _send_live(socket, subscription, wait, only=None if follow else rollout_id, follow=follow)
    except TimeoutError:
        if not _exists(api, name):
            raise DeploymentNotFound(f"No rollout of {name!r} began within {api.settings.progress_wait:g} s.") from None
    finally:
        subscription.close()


async def _send_live(
    socket: WebSocket, subscription: Subscription, wait: float | None, *, only: str | None, follow: bool
) -> None:
    """wait: bound in seconds on the first message. only: id of the one rollout that is of interest."""
    shown = {(message.rollout_id, message.seq) for message in subscription.history[-1:] if message.seq}
    while True:
        async with asyncio.timeout(wait):
            message = await subscription.get()
        wait = None
        told = any(message.rollout_id == rollout and message.seq <= seq for rollout, seq in shown)
        if told or (only is not None and message.rollout_id != only):
            continue
        await _send(socket, message)
        # Of one that never began (seq 0) only who watches that one is told the last.
        if message.last and not follow and (only is not None or message.seq):
            return


def _in_progress(api: Api, name: str, rollout_id: str | None) -> bool:
    """Whether the rollout in question runs: the named one, else any of the deployment."""
    if rollout_id is not None:
        return not api.service.rollout(name, rollout_id).status.is_over
    try:
        return api.service.status(name).open_rollout is not None
    except DeploymentNotFound:
        return False


def _exists(api: Api, name: str) -> bool:
    try:
        return bool(api.service.deployment(name))
    except DeploymentNotFound:
        return False


async def _send(socket: WebSocket, message: Progress) -> None:
    await socket.send_text(dumps(progress_json(message)).decode())


async def _listen(socket: WebSocket) -> None:
    """Whatever a client sends is of no interest; that it leaves is."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass
    raise WebSocketDisconnect


async def _stopped(api: Api) -> None:
    await api.stopping.wait()


async def _first_to_end(*work: Coroutine[Any, Any, None]) -> None:
    """Run all until one ends, cancel the others, and raise what the one raised."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for outcome in ended:
        if isinstance(outcome, Exception):
            raise outcome


async def _refuse(socket: WebSocket, problem: LongshoreError, now: float) -> None:
    """The envelope as a message, then the close code: a browser shows its page neither status nor body of a refusal."""
    code = next((code for kind, code in _CLOSE_CODES.items() if isinstance(problem, kind)), INTERNAL)
    try:
        await socket.send_text(dumps(error_json(problem, now)).decode())
        await socket.close(code)
    except (WebSocketDisconnect, RuntimeError):
        # The client has left meanwhile; RuntimeError is how the server says so after the close.
        return
