"""What a person may ask of webhooks."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from dataclasses import dataclass, replace

from longshore.clock import Clock
from longshore.errors import NotFound
from longshore.model import Delivery, DeliveryState, Rollout, RolloutKind, RolloutStatus, Spec
from longshore.store import Store
from longshore.webhooks.events import TEST
from longshore.webhooks.outbox import Outbox
from longshore.webhooks.receiver import Webhook

#: what a test is told to be about
_EXAMPLE = Spec(name="example", version="1.2.3", artifact_path="/srv/example-1.2.3.tar.gz")


@dataclass(frozen=True, slots=True)
class WebhookReport:
    """pending, dead: deliveries on their way, and given up."""

    webhook: Webhook
    pending: int
    dead: int


class Desk:
    """Every method that names a webhook or a delivery raises NotFound."""

    def __init__(self, store: Store, clock: Clock, outbox: Outbox, webhooks: Sequence[Webhook]) -> None:
        self._store, self._clock, self._outbox = store, clock, outbox
        self._webhooks = {webhook.name: webhook for webhook in webhooks}

    def list(self) -> builtins.list[WebhookReport]:
        counts = self._store.count_deliveries()
        return [
            WebhookReport(
                webhook, counts.get((name, DeliveryState.pending), 0), counts.get((name, DeliveryState.dead), 0)
            )
            for name, webhook in self._webhooks.items()
        ]

    def deliveries(
        self, name: str, *, state: DeliveryState | None, limit: int, offset: int
    ) -> tuple[builtins.list[Delivery], int]:
        """Newest first, and how many there are."""
        return self._store.deliveries(self._webhook(name).name, state=state, limit=limit, offset=offset)

    def delivery(self, name: str, id: str) -> Delivery:
        delivery = self._store.delivery(id)
        if delivery is None or delivery.webhook != self._webhook(name).name:
            raise NotFound(f"The webhook {name} has no delivery {id[:80]!r}.", operation="find")
        return delivery

    def redeliver(self, name: str, id: str) -> Delivery:
        """Due now, with all its attempts before it."""
        again = replace(
            self.delivery(name, id), state=DeliveryState.pending, attempts=0, ended_at=None, next_at=self._clock.now()
        )
        with self._store.transaction():
            self._store.note_attempt(again)
            self._outbox.due(name)
        return again

    def test(self, name: str, caller: str) -> Delivery:
        """A message of a rollout that never was; it is tried once."""
        now = self._clock.now()
        rollout = Rollout(
            id="00000000-0000-7000-8000-000000000000", deployment=_EXAMPLE.name, number=1, kind=RolloutKind.deploy,
            version=_EXAMPLE.version, previous_version="1.2.2", strategy="rolling", status=RolloutStatus.succeeded,
            spec=_EXAMPLE, requested_by=caller, started_at=now, ended_at=now, message="A test: nothing was deployed.",
        )  # fmt: skip
        return self._outbox.add(self._webhook(name), TEST, rollout)

    def _webhook(self, name: str) -> Webhook:
        if name not in self._webhooks:
            known = f"known are {', '.join(self._webhooks)}" if self._webhooks else "the configuration has none"
            raise NotFound(f"There is no webhook {name[:80]!r}: {known}.", operation="find")
        return self._webhooks[name]
