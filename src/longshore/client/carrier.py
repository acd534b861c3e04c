"""Carrying effects out with blocking I/O."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

import httpx2
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import ClientConnection, connect

from longshore.client import channels
from longshore.client.discovery import Endpoint
from longshore.client.effects import ChannelClosed, Effect, Emit, Event, Flow, Open, Pause, Receive, Request
from longshore.client.errors import ClientError
from longshore.client.stepper import Stepper

T = TypeVar("T")


class Channel(Protocol):
    def receive(self, timeout: float | None) -> str | Event | None: ...

    def close(self) -> None: ...


class Carrier:
    """A connection pool to one manager. Safe to share between threads: a flow's channel is its own."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._http = httpx2.Client(**channels.client_options(endpoint))

    def close(self) -> None:
        self._http.close()

    def run(self, flow: Flow[T], on_item: Callable[[Any], None] | None = None) -> T:
        """The flow's result; what it emits goes to `on_item`."""
        stepper = Stepper(flow)
        for item in self.iterate(stepper):
            if on_item is not None:
                on_item(item)
        return stepper.result

    def iterate(self, stepper: Stepper[Any]) -> Iterator[Any]:
        """What the flow emits, as it comes. Leaving the loop closes the flow's channel."""
        channel: Channel | None = None
        try:
            while (effect := stepper.effect) is not None:
                if isinstance(effect, Emit):
                    yield effect.item
                    stepper.answer(None)
                    continue
                try:
                    if isinstance(effect, Open):
                        if channel is not None:
                            channel.close()
                        channel, answer = None, None
                        channel = self._open(effect)
                    else:
                        answer = self._carry_out(effect, channel)
                except (ClientError, ChannelClosed) as error:
                    stepper.fail(error)
                else:
                    stepper.answer(answer)
        finally:
            if channel is not None:
                channel.close()

    def _carry_out(self, effect: Effect, channel: Channel | None) -> object:
        match effect:
            case Request():
                try:
                    return channels.reply_of(
                        self._http.request(
                            effect.method,
                            effect.path,
                            params=dict(effect.params),
                            json=effect.json,
                            headers=channels.encoded(effect.headers),
                            timeout=channels.timeout_of(effect.timeout),
                        )
                    )
                except httpx2.TransportError as error:
                    raise channels.http_error(self.endpoint, error) from error
            case Pause():
                time.sleep(effect.seconds)
                return None
            case Receive() if channel is not None:
                return channel.receive(effect.timeout)
            case _:
                raise TypeError(f"a flow asked for {effect!r}, which is out of place here")

    def _open(self, effect: Open) -> Channel:
        return Socket(self.endpoint, effect) if effect.kind == "socket" else Stream(self.endpoint, self._http, effect)


class Socket:
    """A WebSocket."""

    def __init__(self, endpoint: Endpoint, effect: Open) -> None:
        self._endpoint = endpoint
        url = channels.socket_url(endpoint, effect.path, effect.params)
        try:
            self._socket: ClientConnection = connect(url, legacy=True, **channels.socket_options(endpoint))
        except (InvalidHandshake, OSError) as error:
            raise channels.socket_refusal(endpoint, error) from error

    def receive(self, timeout: float | None) -> str | None:
        try:
            message = self._socket.recv(timeout)
        except TimeoutError:
            return None
        except ConnectionClosed as error:
            raise channels.socket_end(self._endpoint, error) from error
        return message if isinstance(message, str) else message.decode()

    def close(self) -> None:
        self._socket.close()


class Stream:
    """Server-sent events, one after the other."""

    def __init__(self, endpoint: Endpoint, http: httpx2.Client, effect: Open) -> None:
        self._endpoint = endpoint
        self._exit = contextlib.ExitStack()
        try:
            response = self._exit.enter_context(
                http.stream(
                    "GET",
                    effect.path,
                    params=dict(effect.params),
                    headers={"Accept": "text/event-stream", **effect.headers},
                    timeout=channels.timeout_of(channels.STREAM_SILENCE),
                )
            )
            if response.status_code != 200:
                response.read()
            refusal = channels.stream_refusal(endpoint, response)
        except httpx2.TransportError as error:
            self.close()
            raise channels.http_error(endpoint, error) from error
        if refusal is not None:
            self.close()
            raise refusal
        self._events = iter(httpx2.EventSource(response))

    def receive(self, timeout: float | None) -> Event | None:
        """The next one. An open stream is waited for as long as its connection stands."""
        try:
            found = next(self._events)
            return Event(found.data, found.event, found.id)
        except StopIteration:
            raise ChannelClosed from None
        except httpx2.TransportError as error:
            raise channels.http_error(self._endpoint, error) from error

    def close(self) -> None:
        self._exit.close()
