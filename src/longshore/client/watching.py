"""The progress of a rollout over the WebSocket, across lost connections and restarts of the manager."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from longshore.client.calls import get, loads, path_of
from longshore.client.decode import decode
from longshore.client.effects import ChannelClosed, Emit, Flow, Open, Pause, Receive
from longshore.client.errors import (
    ApiError,
    ConnectionLost,
    ManagerUnreachable,
    RateLimited,
    api_error,
    error_of_envelope,
)
from longshore.client.results import Progress, Rollout

#: seconds of silence after which the rollout itself is asked whether it is over: a message may have been lost
IDLE = 15.0
#: first and longest pause between two attempts to reach the manager again, seconds
BACKOFF_FIRST, BACKOFF_MOST = 0.1, 2.0
#: close codes of the contract → the error they mean
_CLOSE_CODES = {
    4401: ("UNAUTHORIZED", "the token is missing or wrong: give --token or LONGSHORE_TOKEN"),
    4404: ("DEPLOYMENT_NOT_FOUND", "there is no rollout to watch"),
}


@dataclass
class Cursor:
    """How far the messages of a rollout have been read. rollout: None until the first message says."""

    rollout: str | None = None
    seq: int = 0

    def take(self, message: Progress) -> bool:
        """Move on to a message; False for one that was read before."""
        if message.rollout_id and message.rollout_id == self.rollout and 0 < message.seq <= self.seq:
            return False
        self.rollout, self.seq = message.rollout_id or self.rollout, message.seq
        return True


class Patience:
    """How long, and how often, a manager that went away is tried again."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        self._until: float | None = None
        self._delay = BACKOFF_FIRST

    def wait(self, error: Exception) -> Flow[None]:
        """Pause before the next attempt, or raise `error` once the patience is over."""
        now = self._clock()
        if self._until is None:
            self._until = now + self._seconds
        if now >= self._until:
            raise error
        yield Pause(min(self._delay, self._until - now))
        self._delay = min(self._delay * 2, BACKOFF_MOST)


def watch(name: str, rollout: str | None, after: int, patience_s: float) -> Flow[None]:
    """Emits each Progress of the rollout (None: the one in progress, or the last, or the next one) until its end.

    A connection that is lost is opened again where it ended, for up to `patience_s` seconds at a time.
    Raises DeploymentNotFound when no rollout began within the manager's bound (60 s), ManagerUnreachable.
    """
    cursor, patience, reached = Cursor(rollout, after), Patience(patience_s), False
    while True:
        try:
            yield from open_progress(name, cursor)
            reached = True
            patience.reset()
            if (yield from listen(name, cursor)):
                return
        except ConnectionLost as error:
            yield from patience.wait(error)
        except ManagerUnreachable as error:
            if not reached:
                raise
            yield from patience.wait(error)


def open_progress(name: str, cursor: Cursor) -> Flow[None]:
    params = {"rollout": cursor.rollout, "after": cursor.seq} if cursor.rollout else {}
    yield Open("socket", path_of(name, "progress"), params)


def listen(name: str, cursor: Cursor, *, until: float | None = None) -> Flow[bool]:
    """Emits messages until the rollout's last. False: the manager is leaving, so ask again, or `until` has passed.

    until: seconds of time.monotonic().
    """
    while True:
        left = IDLE if until is None else until - time.monotonic()
        if left <= 0:
            return False
        try:
            text = yield Receive(min(left, IDLE))
        except ChannelClosed as closed:
            if closed.code in _CLOSE_CODES:
                code, message = _CLOSE_CODES[closed.code]
                raise api_error(code, message, {"deployment": name}) from None
            return closed.code == 1000
        if text is None:
            if (yield from _is_over(name, cursor)):
                return True
            continue
        body = loads(text)
        if (refusal := error_of_envelope(body)) is not None:
            raise refusal
        progress = decode(Progress, body)
        if cursor.take(progress):
            yield Emit(progress)
            if progress.last:
                return True


def _is_over(name: str, cursor: Cursor) -> Flow[bool]:
    if cursor.rollout is None:
        return False
    try:
        rollout = yield from get(Rollout, path_of(name, "rollouts", cursor.rollout))
    except RateLimited:
        return False
    except ApiError:
        # A manager that knows the seed's endpoints only: its silence says nothing.
        return False
    return rollout.is_over
