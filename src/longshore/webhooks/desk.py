"""What a person may ask of webhooks."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from longshore.clock import Clock
from longshore.errors import NotFound
from longshore.model import Delivery, DeliveryState, Rollout, RolloutKind, RolloutStatus, Spec
from longshore.settings import Webhook
from longshore.store import Store
from longshore.webhooks.formats import FORMATS
from longshore.webhooks.outbox import Outbox

#: what a test is told to be about
_NOBODY = Spec(name="example", version="1.2.3", artifact_path="/srv/example-1.2.3.tar.gz")


@dataclass(frozen=True, slots=True)
class WebhookReport:
    webhook: Webhook
    pending: int
    dead: int

    @property
    def host(self) -> str:
        """The URL without its path, which may be a secret."""
        parts = urlsplit(self.webhook.url)
        return f"{parts.scheme}://{parts.hostname or ''}" + (f":{parts.port}" if parts.port else "")


class Desk:
    """Every method that names a webhook or a delivery raises NotFound."""

    def __init__(self, store: Store, clock: Clock, outbox: Outbox, webhooks: Sequence[Webhook]) -> None:
        self._store, self._clock, self._outbox = store, clock, outbox
        self._webhooks = {webhook.name: webhook for webhook in webhooks}

    def list(self) -> builtins.list[WebhookReport]:
        counts = self._store.count_deliveries()
        return [
            WebhookReport(webhook, counts.get((name, "pending"), 0), counts.get((name, "dead"), 0))
            for name, webhook in self._webhooks.items()
        ]

    def deliveries(
        self, name: str, *, state: DeliveryState | None, limit: int, offset: int
    ) -> tuple[builtins.list[Delivery], int]:
        """Newest first."""
        return self._store.deliveries(self._webhook(name).name, state=state, limit=limit, offset=offset)

    def redeliver(self, name: str, id: str) -> Delivery:
        """Due now, with all its attempts before it."""
        webhook, delivery = self._webhook(name), self._store.delivery(id)
        if delivery is None or delivery.webhook != webhook.name:
            raise NotFound(f"The webhook {name} has no delivery {id!r}.", operation="find")
        again = replace(
            delivery, state=DeliveryState.pending, attempts=0, ended_at=None, next_at=self._clock.now()
        )
        with self._store.transaction():
            self._store.note_attempt(again)
            self._store.db.after_commit(lambda: self._outbox.wake(name))
        return again

    def test(self, name: str, caller: str) -> Delivery:
        webhook, now = self._webhook(name), self._clock.now()
        rollout = Rollout(
            id="00000000-0000-7000-8000-000000000000", deployment=_NOBODY.name, number=1, kind=RolloutKind.deploy,
            version=_NOBODY.version, previous_version="1.2.2", strategy="rolling", status=RolloutStatus.succeeded,
            spec=_NOBODY, requested_by=caller, started_at=now, ended_at=now, message="A test: nothing was deployed.",
        )  # fmt: skip
        return self._outbox.add(webhook, "test", _NOBODY.name, FORMATS[webhook.format]("test", rollout, now))

    def _webhook(self, name: str) -> Webhook:
        if name not in self._webhooks:
            known = f"known are {', '.join(self._webhooks)}" if self._webhooks else "the configuration has none"
            raise NotFound(f"There is no webhook {name[:80]!r}: {known}.", operation="find")
        return self._webhooks[name]
