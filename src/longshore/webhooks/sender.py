"""Delivering what the outbox holds: each webhook by a task of its own, so that one receiver never waits for another.

A delivery is tried at once, then after growing pauses for about a day, then it is dead until a person has it sent
again. An answer of 2xx is success; 410 Gone is the receiver's word that it wants nothing more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace

import httpx2

from longshore.clock import Clock
from longshore.errors import InternalError, LeaseLost
from longshore.model import Delivery, DeliveryState
from longshore.settings import Webhook
from longshore.store import Store
from longshore.webhooks.outbox import Outbox
from longshore.webhooks.signing import headers

log = logging.getLogger("longshore.webhooks")

#: seconds after each attempt that failed; some 26 hours in all
PAUSES_S = (5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0, 7200.0, 14400.0, 28800.0, 36000.0)
#: bound on one attempt, in seconds
TIMEOUT_S = 10.0
#: while the store cannot be read or written
STORE_PAUSE_S = 10.0
#: how much of an answer is kept
_ANSWER = 300


class Sender:
    def __init__(self, store: Store, clock: Clock, outbox: Outbox, webhooks: Sequence[Webhook]) -> None:
        self._store, self._clock, self._webhooks = store, clock, webhooks
        self._wakers = {webhook.name: asyncio.Event() for webhook in webhooks}
        outbox.wake = lambda name: self._wakers[name].set()

    async def run(self) -> None:
        """Until it is cancelled. What was being sent is then sent again by the next manager."""
        async with (
            httpx2.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False, trust_env=False) as client,
            asyncio.TaskGroup() as group,
        ):
            for webhook in self._webhooks:
                group.create_task(self._serve(client, webhook), name=f"webhook {webhook.name}")

    # --- private

    async def _serve(self, client: httpx2.AsyncClient, webhook: Webhook) -> None:
        waker = self._wakers[webhook.name]
        while True:
            waker.clear()
            try:
                delivery = self._store.next_delivery(webhook.name)
                wait = None if delivery is None else delivery.next_at - self._clock.now()
                if delivery is not None and wait is not None and wait <= 0:
                    self._store.note_attempt(await self._attempt(client, webhook, delivery))
                    continue
            except LeaseLost:
                return
            except InternalError as error:
                log.warning("webhook %s: %s", webhook.name, error)
                wait = STORE_PAUSE_S
            await self._woken(waker, wait)

    async def _woken(self, waker: asyncio.Event, seconds: float | None) -> None:
        """Until there is something new, or for so long."""
        sleep = asyncio.ensure_future(self._clock.sleep(seconds) if seconds is not None else asyncio.Event().wait())
        wake = asyncio.ensure_future(waker.wait())
        try:
            await asyncio.wait({sleep, wake}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleep.cancel()
            wake.cancel()

    async def _attempt(self, client: httpx2.AsyncClient, webhook: Webhook, delivery: Delivery) -> Delivery:
        """The delivery, as it stands after one attempt."""
        body = delivery.body.encode("utf-8", "replace")
        sent = {
            "content-type": "application/json",
            "user-agent": "longshore",
            **headers(webhook.key, delivery.id, body, self._clock.now()),
        }
        gone = False
        try:
            async with client.stream("POST", webhook.url, content=body, headers=sent) as answer:
                told, done, gone = await _told(answer), answer.is_success, answer.status_code == httpx2.codes.GONE
        except httpx2.HTTPError as error:
            told, done = f"{type(error).__name__}: {error}"[:_ANSWER], False
        now, attempts = self._clock.now(), delivery.attempts + 1
        delivery = replace(delivery, attempts=attempts, answer=told)
        if done:
            return replace(delivery, state=DeliveryState.delivered, ended_at=now)
        if gone or attempts > len(PAUSES_S):
            log.error("webhook %s: %s of %s was given up: %s", webhook.name, delivery.event, delivery.deployment, told)
            return replace(delivery, state=DeliveryState.dead, ended_at=now)
        return replace(delivery, next_at=now + PAUSES_S[attempts - 1])


async def _told(answer: httpx2.Response) -> str:
    """The status, and the beginning of a body of whatever length."""
    text = ""
    async for chunk in answer.aiter_bytes(_ANSWER):
        text = chunk[:_ANSWER].decode("utf-8", "replace").strip()
        break
    return f"{answer.status_code} {answer.reason_phrase}".strip() + (f": {text}" if text else "")
