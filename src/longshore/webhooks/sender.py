"""Delivering what the outbox holds: each webhook by a task of its own, so that one receiver never waits for another.

    pending ──► delivered      an answer of 2xx
       └──────► dead           after all attempts; at once by 410 Gone, by which a receiver says that it wants no more,
                               and where the configuration has its webhook no more

What fails is tried again after growing pauses, for a day. A message that has failed but a few times keeps later ones
of its deployment behind it, so that a receiver that is restarted is told everything in order; afterwards they overtake
it, for one message that is refused for ever keeps no news back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace

import httpx2

from longshore.clock import Clock
from longshore.errors import LeaseLost
from longshore.fence import Fence
from longshore.model import Delivery, DeliveryState
from longshore.store import Store
from longshore.webhooks.events import TEST
from longshore.webhooks.outbox import Outbox
from longshore.webhooks.receiver import Webhook
from longshore.webhooks.signing import headers

log = logging.getLogger("longshore.webhooks")

#: seconds after each attempt that failed; 29 hours in all
PAUSES_S = (5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0, 7200.0, 14400.0, 28800.0, 46800.0)
#: attempts during which later messages of the deployment wait, some three minutes
IN_ORDER = 3
#: bound on one attempt, in seconds
TIMEOUT_S = 10.0
#: seconds between two looks at what is due: a machine may have slept, its clock may have been set
LOOK_S = 60.0
#: seconds until the next look where the store cannot be read or written
STORE_PAUSE_S = 10.0
#: most of an answer that is kept, in characters
ANSWER = 300
#: a connection for each attempt: were there a most of them, receivers that hang would take it up
_NO_POOL = httpx2.Limits(max_connections=None, max_keepalive_connections=0)


class Sender:
    def __init__(self, store: Store, clock: Clock, outbox: Outbox, webhooks: Sequence[Webhook], fence: Fence) -> None:
        self._store, self._clock, self._webhooks, self._fence = store, clock, webhooks, fence
        self._wakers = {webhook.name: asyncio.Event() for webhook in webhooks}
        outbox.wake = lambda name: self._wakers[name].set()

    async def run(self) -> None:
        """Until it is cancelled. What was being sent is then sent again by the next manager."""
        self._give_up_others()
        if not self._webhooks:
            return
        # A proxy, and authorities besides the usual ones, are found in the environment, as by other programs.
        async with (
            httpx2.AsyncClient(timeout=TIMEOUT_S, limits=_NO_POOL, follow_redirects=False) as client,
            asyncio.TaskGroup() as group,
        ):
            for webhook in self._webhooks:
                group.create_task(self._serve(client, webhook), name=f"webhook {webhook.name}")

    # --- private

    def _give_up_others(self) -> None:
        """What is left of webhooks that the configuration has no more, or under another name."""
        known = [webhook.name for webhook in self._webhooks]
        try:
            for name, number in self._store.give_up_deliveries(known, "The configuration has no such webhook.").items():
                log.warning("webhook %s: it is gone from the configuration, %d messages were given up", name, number)
        except Exception as error:
            log.warning("what is left of webhooks that are gone could not be given up: %s", error)

    async def _serve(self, client: httpx2.AsyncClient, webhook: Webhook) -> None:
        waker = self._wakers[webhook.name]
        tried: Delivery | None = None
        while True:
            waker.clear()
            try:
                if tried is not None:  # where that cannot be written down, the message is not sent again meanwhile
                    self._store.note_attempt(tried)
                    tried = None
                delivery = self._store.next_delivery(webhook.name, in_order=IN_ORDER)
                wait = LOOK_S if delivery is None else self._wait(delivery)
                if delivery is not None and wait <= 0:
                    tried = await self._attempt(client, webhook, delivery)
                    continue
            except LeaseLost:
                return
            except Exception as error:
                log.warning("webhook %s: %s", webhook.name, error)
                wait = STORE_PAUSE_S
            await self._woken(waker, min(wait, LOOK_S))

    def _wait(self, delivery: Delivery) -> float:
        """Seconds until it is due. More than its pause: the clock was set back, so the pause begins anew."""
        pause = PAUSES_S[delivery.attempts - 1] if delivery.attempts else 0.0
        wait = delivery.next_at - self._clock.now()
        if wait > pause:
            self._store.note_attempt(replace(delivery, next_at=self._clock.now() + pause))
            return pause
        return wait

    async def _woken(self, waker: asyncio.Event, seconds: float) -> None:
        """Until there is something new, or for so long."""
        tasks = {asyncio.create_task(self._clock.sleep(seconds)), asyncio.create_task(waker.wait())}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()

    async def _attempt(self, client: httpx2.AsyncClient, webhook: Webhook, delivery: Delivery) -> Delivery:
        """The delivery, as it stands after one attempt. Raises LeaseLost."""
        try:
            key = await asyncio.to_thread(webhook.key)
        except (OSError, ValueError) as error:
            return self._failed(delivery, f"Not sent, as its secret cannot be read: {error}")
        body = delivery.body.encode()
        sent = {
            "content-type": "application/json",
            "user-agent": "longshore",
            "accept-encoding": "identity",
            **headers(key, delivery.id, body, self._clock.now()),
        }
        gone = False
        self._fence()
        try:
            async with (
                asyncio.timeout(TIMEOUT_S),
                client.stream("POST", webhook.url.get_secret_value(), content=body, headers=sent) as answer,
            ):
                told = f"{answer.status_code} {answer.reason_phrase}".strip()
                if answer.is_success:
                    done = replace(delivery, state=DeliveryState.delivered, attempts=delivery.attempts + 1)
                    return replace(done, answer=webhook.shown(told)[:ANSWER], ended_at=self._clock.now())
                gone = answer.status_code == httpx2.codes.GONE
                if text := await _beginning(answer):
                    told = f"{told}: {text}"
        except TimeoutError:
            told = f"No answer within {TIMEOUT_S:g} s."
        except Exception as error:  # whatever it answers, and wherever its URL leads: it is this message that failed
            told = f"{type(error).__name__}: {error}"
        return self._failed(delivery, webhook.shown(told)[:ANSWER], gone=gone)

    def _failed(self, delivery: Delivery, told: str, *, gone: bool = False) -> Delivery:
        now, attempts = self._clock.now(), delivery.attempts + 1
        failed = replace(delivery, attempts=attempts, answer=told)
        what = (delivery.webhook, delivery.event, delivery.deployment, told)
        if gone or attempts > len(PAUSES_S) or delivery.event == TEST:
            log.error("webhook %s: %s of %s was given up: %s", *what)
            return replace(failed, state=DeliveryState.dead, ended_at=now)
        if attempts == 1:
            log.warning("webhook %s: %s of %s did not arrive and is tried again: %s", *what)
        return replace(failed, next_at=now + PAUSES_S[attempts - 1])


async def _beginning(answer: httpx2.Response) -> str:
    """Of a body of whatever length."""
    async for chunk in answer.aiter_raw(ANSWER):
        return chunk.decode("utf-8", "replace")
    return ""
