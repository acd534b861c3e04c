"""Writing down what is to be told, in the transaction that makes it so: what is on disk is told, what is not is not."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from uuid_utils import uuid7

from longshore.clock import Clock
from longshore.model import Delivery, DeliveryState, Rollout
from longshore.settings import Webhook
from longshore.store import Store
from longshore.webhooks.events import event_of
from longshore.webhooks.formats import FORMATS


class Outbox:
    def __init__(self, store: Store, clock: Clock, webhooks: Sequence[Webhook]) -> None:
        self._store, self._clock, self._webhooks = store, clock, webhooks
        #: called with the name of a webhook that has something to deliver, once that is on disk
        self.wake: Callable[[str], None] = lambda _: None

    def tell(self, rollout: Rollout) -> None:
        """The rollout has just become as it is. Inside the transaction that made it so."""
        event = event_of(rollout)
        for webhook in self._webhooks if event is not None else ():
            assert event is not None
            if webhook.wants(event, rollout.spec.environment):
                self.add(webhook, event, rollout.deployment, FORMATS[webhook.format](event, rollout, self._clock.now()))

    def add(self, webhook: Webhook, event: str, deployment: str, body: str) -> Delivery:
        now = self._clock.now()
        delivery = Delivery(
            f"msg_{uuid7()}", webhook.name, event, deployment, body, DeliveryState.pending, created_at=now, next_at=now
        )
        with self._store.transaction():
            self._store.add_delivery(delivery)
            self._store.db.after_commit(lambda: self.wake(webhook.name))
        return delivery
