"""Carrying effects out with asyncio: carrier.py, word for word, awaited."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import Any, Protocol, TypeVar

import httpx2
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from longshore.client import channels
from longshore.client.discovery import Endpoint
from longshore.client.effects import ChannelClosed, Effect, Emit, Event, Flow, Open, Pause, Receive, Request
from longshore.client.errors import ClientError
from longshore.client.stepper import Stepper

T = TypeVar("T")

#: What httpx2 raises where a connection cannot be made or breaks. AttributeError: under uvloop one that breaks as it is
#: made has no socket any more when anyio (4.x) asks that for its peer; nothing was sent by then.
BROKEN = (httpx2.TransportError, AttributeError)


class Channel(Protocol):
    async def receive(self, timeout: float | None) -> str | Event | None: ...

    async def close(self) -> None: ...


class AsyncCarrier:
    """A connection pool to one manager. Safe to share between tasks: a flow's channel is its own."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._http = httpx2.AsyncClient(**channels.client_options(endpoint))

    async def close(self) -> None:
        await self._http.aclose()

    async def run(self, flow: Flow[T], on_item: Callable[[Any], None] | None = None) -> T:
        """The flow's result; what it emits goes to `on_item`."""
        stepper = Stepper(flow)
        async with contextlib.aclosing(self.iterate(stepper)) as items:
            async for item in items:
                if on_item is not None:
                    on_item(item)
        return stepper.result

    async def iterate(self, stepper: Stepper[Any]) -> AsyncGenerator[Any, None]:
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
                            await channel.close()
                        channel, answer = None, None
                        channel = await self._open(effect)
                    else:
                        answer = await self._carry_out(effect, channel)
                except (ClientError, ChannelClosed) as error:
                    stepper.fail(error)
                else:
                    stepper.answer(answer)
        finally:
            if channel is not None:
                await channel.close()

    async def _carry_out(self, effect: Effect, channel: Channel | None) -> object:
        match effect:
            case Request():
                try:
                    return channels.reply_of(
                        await self._http.request(
                            effect.method,
                            effect.path,
                            params=dict(effect.params),
                            json=effect.json,
                            headers=channels.encoded(effect.headers),
                            timeout=channels.timeout_of(effect.timeout),
                        )
                    )
                except BROKEN as error:
                    raise channels.http_error(self.endpoint, error) from error
            case Pause():
                await asyncio.sleep(effect.seconds)
                return None
            case Receive() if channel is not None:
                return await channel.receive(effect.timeout)
            case _:
                raise TypeError(f"a flow asked for {effect!r}, which is out of place here")

    async def _open(self, effect: Open) -> Channel:
        channel: Socket | Stream = (
            Socket(self.endpoint) if effect.kind == "socket" else Stream(self.endpoint, self._http)
        )
        await channel.open(effect)
        return channel


class Socket:
    """A WebSocket."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    async def open(self, effect: Open) -> None:
        url = channels.socket_url(self._endpoint, effect.path, effect.params)
        try:
            self._socket: ClientConnection = await connect(url, **channels.socket_options(self._endpoint))
        except (InvalidHandshake, OSError) as error:
            raise channels.socket_refusal(self._endpoint, error) from error

    async def receive(self, timeout: float | None) -> str | None:
        try:
            async with asyncio.timeout(timeout):
                message = await self._socket.recv()
        except TimeoutError:
            return None
        except ConnectionClosed as error:
            raise channels.socket_end(self._endpoint, error) from error
        return message if isinstance(message, str) else message.decode()

    async def close(self) -> None:
        await self._socket.close()


class Stream:
    """Server-sent events, one after the other."""

    def __init__(self, endpoint: Endpoint, http: httpx2.AsyncClient) -> None:
        self._endpoint = endpoint
        self._http = http
        self._exit = contextlib.AsyncExitStack()

    async def open(self, effect: Open) -> None:
        try:
            response = await self._exit.enter_async_context(
                self._http.stream(
                    "GET",
                    effect.path,
                    params=dict(effect.params),
                    headers={"Accept": "text/event-stream", **effect.headers},
                    timeout=channels.timeout_of(channels.STREAM_SILENCE),
                )
            )
            if response.status_code != 200:
                await response.aread()
            refusal = channels.stream_refusal(self._endpoint, response)
        except BROKEN as error:
            await self.close()
            raise channels.http_error(self._endpoint, error) from error
        if refusal is not None:
            await self.close()
            raise refusal
        self._events = aiter(httpx2.EventSource(response))

    async def receive(self, timeout: float | None) -> Event | None:
        """The next one. An open stream is waited for as long as its connection stands."""
        try:
            found = await anext(self._events)
            return Event(found.data, found.event, found.id)
        except StopAsyncIteration:
            raise ChannelClosed from None
        except httpx2.TransportError as error:
            raise channels.http_error(self._endpoint, error) from error

    async def close(self) -> None:
        await self._exit.aclose()
