"""Driving a flow: the one loop that both clients' loops are made of."""

from __future__ import annotations

from typing import Generic, TypeVar

from longshore.client.effects import Effect, Flow

T = TypeVar("T")


class Stepper(Generic[T]):
    """A flow in progress. `effect` is what it asks for, None once it is over; `result` what it then returned."""

    def __init__(self, flow: Flow[T]) -> None:
        self._flow = flow
        self.result: T
        self.effect: Effect | None = None
        self.answer(None)

    def answer(self, value: object) -> None:
        """Send the answer of `effect` in, and go on to the next."""
        try:
            self.effect = self._flow.send(value)
        except StopIteration as end:
            self.effect, self.result = None, end.value

    def fail(self, error: Exception) -> None:
        """Throw the error of `effect` in; one that the flow does not handle is raised here."""
        try:
            self.effect = self._flow.throw(error)
        except StopIteration as end:
            self.effect, self.result = None, end.value
