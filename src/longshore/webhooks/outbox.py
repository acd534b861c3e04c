"""Writing down what is to be told, in the transaction that makes it so: what is on disk is told, what is not is not."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from uuid_utils import uuid7

from longshore.clock import Clock
from longshore.model import Delivery, DeliveryState, Rollout, RolloutStatus
from longshore.store import Store
from longshore.webhooks.events import event_of
from longshore.webhooks.formats import FORMATS
from longshore.webhooks.receiver import Webhook


class Outbox:
    def __init__(self, store: Store, clock: Clock, webhooks: Sequence[Webhook]) -> None:
        self._store, self._clock, self._webhooks = store, clock, webhooks
        #: called with the name of a webhook that has something to deliver, once that is on disk
        self.wake: Callable[[str], None] = lambda _: None

    def tell(self, rollout: Rollout, before: RolloutStatus | None) -> None:
        """The rollout has just become as it is; before: its status until then, None: it had none. Inside the
        transaction that made it so."""
        event = event_of(rollout, before)
        if event is None:
            return
        for webhook in self._webhooks:
            if webhook.wants(event, rollout.spec.environment):
                self.add(webhook, event, rollout)

    def add(self, webhook: Webhook, event: str, rollout: Rollout) -> Delivery:
        now = self._clock.now()
        body = FORMATS[webhook.format](rollout, event, now)
        delivery = Delivery(
            f"msg_{uuid7()}", webhook.name, event, rollout.deployment, body, DeliveryState.pending, now, now
        )
        with self._store.transaction():
            self._store.add_delivery(delivery)
            self.due(webhook.name)
        return delivery

    def due(self, webhook: str) -> None:
        """Have it looked at once the transaction under way is on disk."""
        self._store.db.after_commit(lambda: self.wake(webhook))
