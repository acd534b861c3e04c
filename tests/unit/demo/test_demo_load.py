"""The load generator against the demo's application in this process, and against servers that misbehave."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from longshore.demo import app
from longshore.demo.ledger import Summary
from longshore.demo.load import Load, Mix
from longshore.demo.wire import Connection, read_stream

#: every kind of client, with long requests short enough for a test
SHORT = Mix(connections=4, websockets=2, streams=2, slow=2, held_s=0.3, timeout_s=5)
ONE = Mix(connections=1, websockets=0, streams=0, slow=0, timeout_s=0.2)

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def application() -> AsyncIterator[int]:
    server = await asyncio.get_running_loop().create_server(app.Connection, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def load_of(handler: Handler, mix: Mix = ONE) -> Summary:
    """What the load generator says of a server that treats each connection as `handler` does."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await handler(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, Load("127.0.0.1", server.sockets[0].getsockname()[1], mix) as load:
        await until(lambda: len(load.ledger) >= 3)
    return load.ledger.summary()


def field_of(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b": ")
    return name.lower(), value


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - the load has no event for it
            await asyncio.sleep(0.01)


async def test_a_healthy_application_fails_no_request_of_any_kind() -> None:
    async with application() as port, Load("127.0.0.1", port, SHORT) as load:
        await until(lambda: set(load.ledger.summary().kinds) == {"get", "post", "slow", "events", "websocket"})
    summary = load.ledger.summary()
    assert summary.failures == {}
    assert summary.versions == {app.VERSION: summary.sent}


async def test_a_quarter_of_the_requests_are_posts() -> None:
    async with application() as port, Load("127.0.0.1", port, ONE) as load:
        await until(lambda: len(load.ledger) >= 100)
    kinds = load.ledger.summary().kinds
    assert kinds["post"] / kinds.total() == pytest.approx(0.25, abs=0.02)


async def test_a_port_where_nobody_listens_is_refused(unused_port: int) -> None:
    async with Load("127.0.0.1", unused_port, ONE) as load:
        await until(lambda: len(load.ledger) >= 2)
    assert set(load.ledger.summary().failures) == {"refused"}


async def test_a_connection_closed_without_an_answer_is_a_reset() -> None:
    async def close(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")

    assert set((await load_of(close)).failures) == {"reset"}


async def test_a_connection_closed_after_the_first_answer_is_a_reset_of_a_reused_one() -> None:
    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(app.answer(b"once"))
        await reader.readuntil(b"\r\n\r\n")

    assert "reset (reused connection)" in (await load_of(answer_once)).failures


async def test_an_answer_cut_short_is_truncated() -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(app.answer(b"whole")[:-2])

    assert set((await load_of(cut)).failures) == {"truncated"}


async def test_a_503_is_a_failure_named_by_its_status() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(app.answer(b"", "503 Service Unavailable"))

    assert "status 503" in (await load_of(refuse)).failures


async def test_a_post_that_does_not_come_back_as_it_was_sent_is_a_failure() -> None:
    async def forget(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            writer.write(app.answer(b"something else"))

    assert set((await load_of(forget, Mix(1, 1, 0, 0, 0))).failures) == {"wrong body"}


async def test_no_answer_in_time_is_a_timeout() -> None:
    async def silence(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    assert set((await load_of(silence)).failures) == {"timeout"}


async def test_an_event_stream_that_ends_early_is_truncated() -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + app.chunk(b"data: 0\n\n"))

    assert set((await load_of(cut, Mix(0, streams=1, websockets=0, slow=0))).failures) == {"truncated"}


async def test_a_websocket_that_is_cut_is_a_failure() -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        fields = dict(field_of(line) for line in head.split(b"\r\n"))
        connection = app.Connection()
        connection.transport = writer.transport  # type: ignore[assignment]
        connection.upgrade(fields[b"sec-websocket-key"])

    assert set((await load_of(cut, Mix(0, websockets=1, streams=0, slow=0))).failures) == {"websocket cut"}


async def test_the_application_answers_pipelined_requests_in_order() -> None:
    async with application() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /slow?s=0.1 HTTP/1.1\r\n\r\nGET /missing HTTP/1.1\r\n\r\n")
        assert b" 200 " in await reader.readline()
        await reader.readuntil(app.VERSION.encode() + b"\n")
        assert b" 404 " in await reader.readuntil(b"Not Found")
        writer.close()


async def test_the_application_wants_a_content_length() -> None:
    async with application() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert b" 411 " in await reader.read()
        writer.close()


async def test_a_large_echo_comes_back_whole() -> None:
    body = bytes(range(256)) * 2048
    async with application() as port:
        connection = Connection("127.0.0.1", port)
        assert (await connection.request("POST", "/echo", body)).body == body
        connection.close()


async def test_an_event_stream_is_read_to_its_end() -> None:
    async with application() as port:
        answer = await read_stream("127.0.0.1", port, "/events?s=0.3")
    assert answer.body.count(b"data: ") == 3
