"""Server-sent events: endless answers that end by themselves when the client leaves or the manager stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing

from fastapi.sse import format_sse_event
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

#: seconds after which whoever waits looks up: for the end of the manager, and for what no event announces
TICK = 1.0

_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
_ALIVE = b": alive\n\n"

#: the last event of a stream that is over for good; one that ends without it is to be opened again
END = b"event: end\ndata: {}\n\n"


class EventStream(StreamingResponse):
    """Sends `chunks`, and a comment after each `keep_alive` seconds of silence, so that proxies keep the connection.

    chunks   finished events; b"" is nothing to say now, and must come at least every TICK or so
    stopped  asked whenever the stream comes by: True ends it
    """

    def __init__(self, chunks: AsyncGenerator[bytes, None], *, keep_alive: float, stopped: Callable[[], bool]) -> None:
        super().__init__(_alive(chunks, keep_alive, stopped), media_type="text/event-stream", headers=_HEADERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending = asyncio.ensure_future(self.stream_response(send))
        leaving = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            sending.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)


def event(data: bytes, *, kind: str | None = None, id: str | None = None) -> bytes:
    return format_sse_event(data_str=data.decode(), event=kind, id=id)


async def _alive(
    chunks: AsyncGenerator[bytes, None], keep_alive: float, stopped: Callable[[], bool]
) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    async with aclosing(chunks):
        yield _ALIVE
        spoke = loop.time()
        async for chunk in chunks:
            if stopped():
                return
            if not chunk and loop.time() - spoke >= keep_alive:
                chunk = _ALIVE
            if chunk:
                yield chunk
                spoke = loop.time()


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
