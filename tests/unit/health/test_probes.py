from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from longshore.drivers.base import Exit, Inspection
from longshore.health.probes import Check, ProbeResult, await_ready, probe


@asynccontextmanager
async def server(answer: bytes, *, hang: bool = False) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that answers every request with these bytes; yields its port and the requests it got."""
    requests: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            requests.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(answer)
            await writer.drain()
            if hang:
                await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1], requests
    finally:
        listening.close()
        await listening.wait_closed()


def reply(status: int, body: str = "", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{headers}\r\n{body}".encode()


@pytest.mark.parametrize(("status", "ok"), [(200, True), (204, True), (301, True), (404, False), (500, False)])
async def test_2xx_and_3xx_are_healthy(status: int, ok: bool) -> None:
    async with server(reply(status, headers="Location: http://127.0.0.1:1/\r\n")) as (port, requests):
        assert (await probe(Check("http", port=port))).ok is ok
        assert len(requests) == 1


async def test_an_unhealthy_answer_is_shown_with_the_head_of_its_body() -> None:
    async with server(reply(503, "still  starting\n" + "x" * 9000)) as (port, _):
        found = await probe(Check("http", port=port, path="/health?a=1"))
    head, _, shown = found.message.partition(" ms: ")
    assert head.startswith(f"GET http://127.0.0.1:{port}/health?a=1 → 503 in ")
    assert (shown[:16], len(shown)) == ("still starting x", 200)


async def test_a_refused_connection_says_so() -> None:
    async with server(b"") as (port, _):
        pass
    found = await probe(Check("http", port=port))
    assert f"GET http://127.0.0.1:{port}/ → connection refused in " in found.message


async def test_an_answer_that_never_ends_is_cut_at_the_timeout() -> None:
    async with server(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", hang=True) as (port, _):
        found = await probe(Check("http", port=port, timeout_s=0.1))
    assert not found.ok
    assert " → no answer within 0.1 s in " in found.message


async def test_a_huge_answer_is_not_read_to_its_end() -> None:
    async with server(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n" + b"x" * 500_000, hang=True) as (port, _):
        assert (await probe(Check("http", port=port))).ok


async def test_what_is_not_http_is_unhealthy() -> None:
    async with server(b"SSH-2.0-OpenSSH\r\n\r\n") as (port, _):
        found = await probe(Check("http", port=port))
    assert not found.ok
    assert " → failed" in found.message


async def test_each_probe_has_a_connection_of_its_own() -> None:
    async with server(reply(200)) as (port, requests):
        for _ in range(3):
            assert (await probe(Check("http", port=port))).ok
        assert len(requests) == 3
        assert all(b"connection: close" in request.lower() for request in requests)


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with server(reply(200)) as (port, _):
        assert (await probe(Check("url", url=f"http://127.0.0.1:{port}/"))).ok


async def test_a_url_nobody_can_ask_for_is_unhealthy() -> None:
    found = await probe(Check("url", url="nonsense://x"))
    assert not found.ok


async def test_a_listening_port_is_healthy_by_tcp() -> None:
    async with server(b"") as (port, _):
        found = await probe(Check("tcp", port=port))
    assert found.ok
    assert found.message.startswith(f"connect to 127.0.0.1:{port} → connected in ")


async def test_what_runs_is_alive() -> None:
    async def inspect() -> Inspection:
        return Inspection("running", None, "pid 1")

    assert (await probe(Check("alive", inspect=inspect))).ok


# --- waiting until ready


class FakeClock:
    """Time that passes only in sleep()."""

    def __init__(self) -> None:
        self.time = 0.0
        self.pauses: list[float] = []

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(round(seconds, 4))
        self.time += seconds
        await asyncio.sleep(0)


def answers(*oks: bool) -> Callable[[Check], object]:
    """A prober that gives these answers, the last for ever."""
    left = list(oks)

    async def ask(check: Check) -> ProbeResult:
        return ProbeResult(left.pop(0) if len(left) > 1 else left[0], "asked", 0.0)

    return ask


CHECK = Check("tcp", port=1)


async def wait(prober: object, clock: FakeClock, **changes: object) -> object:
    options = {"deadline_s": 60.0, "interval_s": 5.0, "healthy_threshold": 2} | changes
    return await await_ready(CHECK, clock=clock, prober=prober, **options)  # type: ignore[arg-type]


async def test_the_first_try_is_at_once() -> None:
    clock = FakeClock()
    found = await wait(answers(True), clock, healthy_threshold=1)
    assert (found.ready, found.probes, clock.pauses) == (True, 1, [])


async def test_pauses_grow_to_a_second_while_it_starts() -> None:
    clock = FakeClock()
    await wait(answers(*[False] * 14, True), clock)
    assert clock.pauses[:4] == [0.02, 0.03, 0.045, 0.0675]
    assert max(clock.pauses) == 1.0


async def test_pauses_grow_no_further_than_the_interval() -> None:
    clock = FakeClock()
    await wait(answers(*[False] * 14, True), clock, interval_s=0.1)
    assert max(clock.pauses) == 0.1


async def test_successes_must_be_in_a_row() -> None:
    found = await wait(answers(True, False, True, True), FakeClock())
    assert found.probes == 4


async def test_after_a_success_the_next_question_follows_soon() -> None:
    clock = FakeClock()
    await wait(answers(*[False] * 14, True), clock)
    assert clock.pauses[-1] == 0.02


async def test_the_deadline_ends_the_wait_and_names_the_last_answer() -> None:
    clock = FakeClock()
    found = await wait(answers(False), clock, deadline_s=3.0)
    assert (found.ready, found.reason) == (False, "it was not ready within 3 s: last probe asked")
    assert clock.time == pytest.approx(3.0)


async def test_an_instance_that_exits_ends_the_wait_at_once() -> None:
    async def hanging(check: Check) -> ProbeResult:
        return await asyncio.Future()

    async def exits() -> Exit:
        return Exit(3)

    found = await wait(hanging, FakeClock(), alive=exits())
    assert (found.ready, found.reason) == (False, "it exited with code 3 before it was ready")


async def test_an_answer_by_somebody_else_does_not_make_a_dead_instance_ready() -> None:
    ended: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()

    async def ask(check: Check) -> ProbeResult:
        ended.set_result(Exit(1))
        return ProbeResult(True, "asked", 0.0)

    found = await wait(ask, FakeClock(), alive=ended, healthy_threshold=1)
    assert not found.ready


async def test_the_watch_is_given_up_with_the_wait() -> None:
    cancelled = asyncio.Event()

    async def watch() -> Exit:
        try:
            return await asyncio.Future()
        finally:
            cancelled.set()

    await wait(answers(True), FakeClock(), alive=watch)
    assert cancelled.is_set()


async def test_a_cancelled_wait_leaves_no_task() -> None:
    async def hanging(check: Check) -> ProbeResult:
        return await asyncio.Future()

    task = asyncio.create_task(wait(hanging, FakeClock(), alive=asyncio.Event().wait()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_each_answer_is_reported() -> None:
    seen: list[ProbeResult] = []
    await wait(answers(False, True, True), FakeClock(), on_probe=seen.append)
    assert [answer.ok for answer in seen] == [False, True, True]


async def test_one_with_nothing_to_ask_has_to_stay_up_for_a_while() -> None:
    clock = FakeClock()
    options = {"deadline_s": 60.0, "interval_s": 5.0, "healthy_threshold": 3}
    await await_ready(Check("alive"), clock=clock, **options)  # type: ignore[arg-type]
    assert clock.pauses == [1.0, 1.0]
