"""A message to a webhook's receiver: on its way, there, or given up."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class DeliveryState(StrEnum):
    pending = "pending"
    delivered = "delivered"
    #: tried as often as it is tried; only a person has it sent again
    dead = "dead"


@dataclass(frozen=True, slots=True)
class Delivery:
    """id: what the receiver tells repetitions by."""

    id: str
    webhook: str
    #: key of webhooks.EVENTS
    event: str
    deployment: str
    #: as it is sent
    body: str
    state: DeliveryState
    created_at: float
    #: not to be tried before
    next_at: float
    attempts: int = 0
    ended_at: float | None = None
    #: what the receiver, or the network, said to the last attempt
    answer: str = ""
