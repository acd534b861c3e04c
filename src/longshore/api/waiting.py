"""Requests that wait for a rollout. The rollout is the manager's: who waits for it, or leaves, changes nothing."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from starlette.requests import Request
from starlette.responses import Response

from longshore.api.context import Api, api_of, caller_of
from longshore.api.problems import json_response
from longshore.api.terms import terms_of
from longshore.api.wire import rollout_failure, rollout_json, step_json
from longshore.errors import InternalError, Issue, SpecInvalid
from longshore.model import Rollout, WaitingFor
from longshore.rollout.terms import Once, Terms

T = TypeVar("T")

_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")


class Stopping(InternalError):
    """The manager is stopping; ask again when it has started."""


#: one request at a time for each key, from looking the key up until its rollout is open
_LOCKS: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()


async def over(api: Api, rollout_id: str) -> Rollout:
    """The rollout once it is over. Raises InternalError when the manager stops before that."""
    try:
        return await unless_stopping(api, api.service.outcome(rollout_id))
    except Stopping:
        raise Stopping(
            f"The manager is stopping. Rollout {rollout_id} is kept and goes on when it starts again: "
            "ask for the rollout then.",
            rollout_id=rollout_id,
        ) from None


async def unless_stopping(api: Api, work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns. Raises Stopping, and cancels the work, when the manager stops before that.

    For whatever may take longer than a stopping manager has. What is cancelled is safe to ask for again, or a mere
    wait: rollouts have tasks of their own.
    """
    task = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(api.stopping.wait())
    try:
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
    finally:
        task.cancel()
        stopping.cancel()
    raise Stopping


async def start_once(
    request: Request,
    body: Any,
    start: Callable[[Terms], Awaitable[Rollout]],
    counted: Callable[[], None] = lambda: None,
) -> str:
    """Id of the rollout that `start` began, or that an earlier request with the same Idempotency-Key did.

    counted  counts this request against a limit; called for each but a replay
    """
    api, caller = api_of(request), caller_of(request)
    key = request.headers.get("idempotency-key")
    if key is None:
        counted()
        return await _begin(api, start(terms_of(request)))
    if not _IDEMPOTENCY_KEY.fullmatch(key):
        counted()
        raise SpecInvalid(
            issues=[Issue("Idempotency-Key", "must be 1 to 255 printable ASCII characters without spaces")]
        )
    async with _alone(caller.key, key):
        once = Once(caller.key, key)
        try:
            earlier = api.service.idempotency_begin(once, _fingerprint(request, body))
        except SpecInvalid:
            counted()
            raise
        if earlier is not None:
            return earlier
        counted()
        return await _begin(api, start(terms_of(request, once)))


async def answer(request: Request, rollout_id: str, name: str, succeeded: Callable[[Rollout], Response]) -> Response:
    """Wait for the rollout and answer with what became of it; at once where `Prefer: respond-async` asks for that,
    or where somebody has to approve it first."""
    api = api_of(request)
    rollout = api.service.rollout(name, rollout_id)
    if prefers_async(request) or rollout.waiting_for is WaitingFor.approval:
        headers = {"Location": f"/api/v1/deployments/{name}/rollouts/{rollout_id}"}
        if prefers_async(request):
            headers["Preference-Applied"] = "respond-async"
        return json_response(full(api, rollout), 202, headers)
    rollout = await over(api, rollout_id)
    if rollout.status.is_failed:
        failure = rollout_failure(rollout)
        failure.details["steps"] = [step_json(step) for step in api.service.steps(rollout_id)]
        raise failure
    return succeeded(rollout)


def prefers_async(request: Request) -> bool:
    """Whether `Prefer` (RFC 7240) holds respond-async."""
    given = ",".join(request.headers.getlist("prefer"))
    return any(preference.split(";")[0].strip().lower() == "respond-async" for preference in given.split(","))


def full(api: Api, rollout: Rollout) -> dict[str, Any]:
    """The rollout resource as it stands."""
    service = api.service
    return rollout_json(rollout, service.steps(rollout.id), service.progress_pct(rollout.id), api.now())


# --- private


async def _begin(api: Api, started: Awaitable[Rollout]) -> str:
    rollout = await started
    api.observe(rollout)
    return rollout.id


@asynccontextmanager
async def _alone(caller: str, key: str) -> AsyncIterator[None]:
    lock = _LOCKS.setdefault((caller, key), asyncio.Lock())
    async with lock:
        yield


def _fingerprint(request: Request, body: Any) -> str:
    """What makes two requests the same: path and body, whatever the order of keys and the white space."""
    asked = json.dumps([request.url.path, body], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(asked.encode()).hexdigest()
