"""Asking one instance whether it is healthy, and waiting until it is.

await_ready:  probe at once ── no ──► 20 ms, 30, 45 … up to `interval` (1 s at most) ──► probe …
                   └── yes, `healthy_threshold` times in a row ──► ready
              ends at once when the instance has exited, and when the deadline is reached
"""

from __future__ import annotations

import asyncio
import ssl
import time
import weakref
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import httpx2

from longshore.clock import Clock, SystemClock
from longshore.drivers.base import Inspection

#: bytes of an answer that are read; the rest is left unread and the connection closed
MAX_BODY = 64 * 1024
#: what is said where nobody listens
REFUSED = "connection refused"
#: characters of an unhealthy answer that are shown
SHOWN_BODY = 200
#: first pause between probes while an instance starts, its growth, and its largest value, in seconds. A probe costs
#: under 1 ms, so 20 ms is 5 % of a core at most, and only at first.
FIRST_PAUSE_S, PAUSE_GROWTH, LARGEST_PAUSE_S = 0.02, 1.5, 1.0


@dataclass(frozen=True, slots=True)
class Check:
    """A configured health question.

    kind       http: GET `path` of host and port · tcp: connect to host and port · url: GET `url` as it stands ·
               alive: ask `inspect` whether it runs; without `inspect` it is enough that nobody has seen it exit
    inspect    of the other kinds: asked once they are answered, for one that says itself that it is ready
    timeout_s  bound on one asking, all of it
    """

    kind: Literal["http", "tcp", "alive", "url"]
    host: str = "127.0.0.1"
    port: int = 0
    path: str = "/"
    url: str = ""
    timeout_s: float = 2.0
    inspect: Callable[[], Awaitable[Inspection]] | None = None

    def __str__(self) -> str:
        match self.kind:
            case "http":
                return f"GET http://{_bracketed(self.host)}:{self.port}{self.path}"
            case "url":
                return f"GET {self.url}"
            case "tcp":
                return f"connect to {_bracketed(self.host)}:{self.port}"
            case "alive":
                return "stays up"


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """One answer. message: for people, such as "GET http://127.0.0.1:20003/health → 503 in 3 ms: starting"; refused:
    nobody listens there."""

    ok: bool
    message: str
    duration_s: float
    refused: bool = False


@dataclass(frozen=True, slots=True)
class ReadyResult:
    """How the wait for an instance ended. reason: for people; last: the last probe, if there was any."""

    ready: bool
    reason: str
    last: ProbeResult | None
    duration_s: float
    probes: int


T = TypeVar("T")
Prober = Callable[[Check], Awaitable[ProbeResult]]


async def probe(check: Check) -> ProbeResult:
    """Ask once. Never raises (but for cancellation): what goes wrong is an unhealthy answer that says so.

    Each HTTP probe has a connection of its own: a kept one would go on to answer for a listener that is gone. 2xx and
    3xx are healthy, redirects are not followed, proxies of the environment are not used.
    """
    started = time.perf_counter()
    try:
        async with asyncio.timeout(check.timeout_s):
            ok, answer = await PROBES[check.kind](check)
            if ok and check.kind != "alive" and check.inspect is not None:
                ok, said = await _alive(check)
                answer = answer if ok else f"{answer}, but not ready: {said}"
    except TimeoutError:
        ok, answer = False, f"no answer within {check.timeout_s:g} s"
    except Exception as error:  # a probe has no failure but "unhealthy"
        ok, answer = False, reason_of(error)
    duration = time.perf_counter() - started
    head, colon, rest = answer.partition(": ")
    return ProbeResult(ok, f"{check} → {head} in {duration * 1000:.0f} ms{colon}{rest}", duration, answer == REFUSED)


async def await_ready(
    check: Check,
    *,
    deadline_s: float,
    interval_s: float,
    healthy_threshold: int,
    alive: Awaitable[object] | Callable[[], Awaitable[object]] | None = None,
    clock: Clock | None = None,
    on_probe: Callable[[ProbeResult], None] | None = None,
    prober: Prober = probe,
) -> ReadyResult:
    """Wait until an instance that has just been started is ready.

    deadline_s         seconds it may take
    interval_s         pause that the eager probing grows to, at most 1 s
    healthy_threshold  successes in a row that make it ready, >= 1
    alive              completes (with an Exit) when the instance has ended; the wait then ends at once. It is cancelled
                       at the end of the wait: give `driver.exited(handle)` itself
    on_probe           called with each answer
    prober             what asks; a test's own

    Never raises for an instance that does not become ready: that is the result. After a first success the next
    question follows after 20 ms again. A check of kind `alive` has nothing to ask for, so it is not eager: the instance
    has to stay up for `healthy_threshold` - 1 pauses of min(interval_s, 1 s).
    """
    clock = clock or SystemClock()
    wait = _Wait(clock, alive)
    largest = min(interval_s, LARGEST_PAUSE_S)
    first = largest if check.kind == "alive" else min(FIRST_PAUSE_S, largest)
    pause, successes, probes = first, 0, 0
    last: ProbeResult | None = None

    def result(ready: bool, reason: str) -> ReadyResult:
        return ReadyResult(ready, reason, last, wait.elapsed(), probes)

    try:
        while (left := deadline_s - wait.elapsed()) > 0:
            answer = await wait.first(prober(replace(check, timeout_s=min(check.timeout_s, left))))
            if answer is None:
                return result(False, f"it {wait.ending()} before it was ready")
            probes += 1
            if last is None or answer.ok or left >= check.timeout_s:
                # Else the deadline cut it short: what was answered before says more than "no answer within 1 ms".
                last = answer
            if on_probe:
                on_probe(answer)
            successes = successes + 1 if answer.ok else 0
            if successes >= healthy_threshold:
                return result(True, answer.message)
            pause = first if successes == 1 else pause
            await wait.first(clock.sleep(min(pause, max(0.0, deadline_s - wait.elapsed()))))
            if wait.over():
                return result(False, f"it {wait.ending()} before it was ready")
            pause = min(pause * PAUSE_GROWTH, largest)
        shown = f": last probe {last.message}" if last else ""
        return result(False, f"it was not ready within {deadline_s:g} s{shown}")
    finally:
        await wait.close()


# --- private


class _Wait:
    """Waits for something, but not longer than the instance lives."""

    def __init__(self, clock: Clock, alive: Awaitable[object] | Callable[[], Awaitable[object]] | None) -> None:
        self._clock = clock
        self._started = clock.monotonic()
        awaitable = alive() if callable(alive) else alive
        self._exit: asyncio.Future[object] | None = asyncio.ensure_future(awaitable) if awaitable is not None else None

    def elapsed(self) -> float:
        return self._clock.monotonic() - self._started

    def over(self) -> bool:
        return self._exit is not None and self._exit.done()

    def ending(self) -> str:
        """How the instance ended, as the rest of a sentence."""
        assert self._exit is not None
        if self._exit.cancelled() or (error := self._exit.exception()) is None:
            return "ended" if self._exit.cancelled() else str(self._exit.result() or "ended")
        return f"could not be watched ({error})"

    async def first(self, work: Awaitable[T]) -> T | None:
        """The result of the work; None, the work cancelled, where the instance ended before it."""
        task = asyncio.ensure_future(work)
        awaited: list[asyncio.Future[Any]] = [task] if self._exit is None else [task, self._exit]
        try:
            await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
            # Whatever answered a probe of an instance that has ended, it was not that instance.
            return None if self.over() else task.result()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait([task])

    async def close(self) -> None:
        if self._exit is not None:
            self._exit.cancel()
            await asyncio.wait([self._exit])


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


async def _http(check: Check) -> tuple[bool, str]:
    return await _get(f"http://{_bracketed(check.host)}:{check.port}{check.path}")


async def _url(check: Check) -> tuple[bool, str]:
    return await _get(check.url)


async def _tcp(check: Check) -> tuple[bool, str]:
    _, writer = await asyncio.open_connection(check.host, check.port)
    writer.close()
    await writer.wait_closed()
    return True, "connected"


async def _alive(check: Check) -> tuple[bool, str]:
    if check.inspect is None:
        return True, "up"
    found = await check.inspect()
    return found.state == "running" and found.ready, f"{found.state}: {found.message}" if found.message else found.state


async def _get(url: str) -> tuple[bool, str]:
    body = b""
    async with http_client().stream("GET", url) as response:
        async for block in response.aiter_raw(8192):
            body += block
            if len(body) >= MAX_BODY:
                break
        ok = 200 <= response.status_code < 400
        text = " ".join(body[: 4 * SHOWN_BODY].decode("utf-8", "replace").split())[:SHOWN_BODY]
        return ok, str(response.status_code) if ok or not text else f"{response.status_code}: {text}"


#: One client for each event loop. A client of its own for each probe would build an ssl context each time (20 ms);
#: with it a probe costs 0.9 ms of CPU (measured on CPython 3.11, httpx2 2.16; a bare TCP connect costs 0.1 ms).
_CLIENTS: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, httpx2.AsyncClient] = weakref.WeakKeyDictionary()


def http_client() -> httpx2.AsyncClient:
    """For one question on a connection of its own; without bounds in time."""
    loop = asyncio.get_running_loop()
    if (client := _CLIENTS.get(loop)) is None:
        client = httpx2.AsyncClient(
            verify=_tls(),
            trust_env=False,
            follow_redirects=False,
            timeout=None,  # `probe` bounds the whole
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=0),
            headers={"user-agent": "longshore-probe", "connection": "close"},
        )
        _CLIENTS[loop] = client
    return client


def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def reason_of(error: Exception) -> str:
    """The lowest-level reason: httpx wraps what the system said."""
    found: BaseException = error
    while (inner := found.__cause__ or found.__context__) is not None:
        found = inner
    if isinstance(found, ConnectionRefusedError):
        return REFUSED
    return f"failed: {found}" if str(found) else f"failed: {type(found).__name__}"


# To add a kind of check: its name in Check.kind and Check.__str__, a function above that returns (healthy, what came;
# ": " before the details), and a line below; a section in docs/guide/running-apps.md. It may raise anything, and need
# not bound its time: probe() does both. tests/contracts/test_probes.py then covers it.
PROBES: Mapping[str, Callable[[Check], Awaitable[tuple[bool, str]]]] = {
    "http": _http,
    "tcp": _tcp,
    "alive": _alive,
    "url": _url,
}
