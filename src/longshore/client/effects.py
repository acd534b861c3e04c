"""What a call needs from the outside, as data.

Every method of the client is a *flow*: a generator that yields effects, is sent their answers (or has their errors
thrown in), and returns the result. A flow opens no connection and waits for nothing itself, so that one text of each
method serves the sync and the async client (sync.py, aio.py carry effects out; both are thin), and a test can play
the manager by answering effects.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T")

#: seconds that an ordinary answer may take
ANSWER_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class Request:
    """Answered with a Reply; ManagerUnreachable if no connection came about, ConnectionLost if it ended too soon."""

    method: str
    path: str
    params: Mapping[str, Any] = field(default_factory=dict)
    json: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    #: seconds without a byte of the answer; None waits as long as the connection stands
    timeout: float | None = ANSWER_TIMEOUT


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Pause:
    """Answered with None after that many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Open:
    """Open the flow's channel, closing the one before. kind: "socket" (WebSocket) or "stream" (server-sent events).

    Answered with None; ApiError or UnexpectedAnswer if it is refused, ManagerUnreachable if nobody answers.
    """

    kind: str
    path: str
    params: Mapping[str, Any] = field(default_factory=dict)
    #: of a stream
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Event:
    """A server-sent event. kind: "message" where it has none; id: "" where none was sent yet in this stream."""

    data: str
    kind: str = "message"
    id: str = ""


@dataclass(frozen=True, slots=True)
class Receive:
    """Answered with a socket's next text or a stream's next Event; None once `timeout` seconds passed without one.

    Raises ChannelClosed at its orderly end, ConnectionLost at any other.
    """

    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class Emit:
    """Hand an item to whoever iterates (or to the progress callback). Answered with None."""

    item: Any


Effect: TypeAlias = Request | Pause | Open | Receive | Emit
Flow: TypeAlias = Generator[Effect, Any, T]


class ChannelClosed(Exception):
    """The manager ended the channel. code: the WebSocket's close code, 1000 for a stream that was complete."""

    def __init__(self, code: int = 1000) -> None:
        self.code = code
        super().__init__(f"closed with {code}")
