"""Progress messages to whoever watches: live fan-out, bounded for each watcher."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from longshore.model import Progress

#: messages a watcher may be behind. A long rollout has some hundred; a reader slower than that loses middle ones
QUEUE_LENGTH = 256


class Subscription:
    """What one watcher gets: `history` first, then get() for what happens live.

    When the queue is full the oldest queued message gives way, so the newest, and with it the last one of a rollout,
    always arrives: a watcher sees the beginning (history), a gap, and the end.
    """

    def __init__(self, history: list[Progress], close: Callable[[Subscription], None]) -> None:
        self.history = history
        self._queue: deque[Progress] = deque(maxlen=QUEUE_LENGTH)
        self._arrived = asyncio.Event()
        self._close = close

    def put(self, message: Progress) -> None:
        self._queue.append(message)
        self._arrived.set()

    async def get(self) -> Progress:
        """The next message; waits for one. The caller bounds or cancels it."""
        while not self._queue:
            self._arrived.clear()
            await self._arrived.wait()
        return self._queue.popleft()

    def close(self) -> None:
        self._close(self)


class Bus:
    """Subscribers by deployment name. "" subscribes to all of them."""

    def __init__(self) -> None:
        self._subscribers: dict[str, set[Subscription]] = {}

    def subscribe(self, name: str, history: list[Progress]) -> Subscription:
        def close(subscription: Subscription) -> None:
            watchers = self._subscribers.get(name)
            if watchers is not None:
                watchers.discard(subscription)
                if not watchers:
                    del self._subscribers[name]

        subscription = Subscription(history, close)
        self._subscribers.setdefault(name, set()).add(subscription)
        return subscription

    def publish(self, message: Progress) -> None:
        for name in (message.deployment, ""):
            for subscription in self._subscribers.get(name, ()):
                subscription.put(message)
