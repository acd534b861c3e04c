"""A user's own checks of a candidate: somebody else's judgement, asked for again and again while it is watched."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import httpx2

from longshore.durations import format_duration
from longshore.errors import LeaseLost
from longshore.health.probes import http_client, reason_of
from longshore.model import CanaryCheck, Verdict
from longshore.proc import HookResult

#: bytes of an answer that are read, and characters of it that are shown
MAX_BODY, SHOWN = 256 * 1024, 300
#: the exit code of a command that cannot tell (EX_TEMPFAIL of sysexits.h)
CANNOT_TELL = 75


@dataclass(frozen=True, slots=True)
class Answer:
    """What a check said once. inconclusive: nobody could be asked, or could not tell."""

    verdict: Verdict
    #: with the numbers, for people
    words: str


#: runs a shell line as hooks are run, within so many seconds, with these variables besides
Shell = Callable[[str, float, Mapping[str, str]], Awaitable[HookResult]]


@dataclass(frozen=True, slots=True)
class Asking:
    """What checks may use. variables: what `$NAME` stands for in URLs and queries."""

    variables: Mapping[str, str]
    shell: Shell


@dataclass(frozen=True, slots=True)
class Record:
    """What a check has said so far."""

    check: CanaryCheck
    passed: int = 0
    failed: int = 0
    last: Answer | None = None

    def after(self, answer: Answer) -> Record:
        return replace(
            self,
            passed=self.passed + (answer.verdict is Verdict.passed),
            failed=self.failed + (answer.verdict is Verdict.failed),
            last=answer,
        )

    @property
    def verdict(self) -> Verdict:
        """Failed at `failure_limit` failures; inconclusive while the last answer is none, or says nothing."""
        if self.failed >= self.check.failure_limit:
            return Verdict.failed
        silent = self.last is None or self.last.verdict is Verdict.inconclusive
        return Verdict.inconclusive if silent else Verdict.passed

    def __str__(self) -> str:
        """`check smoke: passed 3 times, failed 0 times (limit 1), last: exit code 0`"""
        last = f", last: {self.last.words}" if self.last else ", not asked yet"
        return (
            f"check {self.check.name}: passed {self.passed}, failed {self.failed} (of {self.check.failure_limit}){last}"
        )


async def ask(check: CanaryCheck, asking: Asking) -> Answer:
    """Ask once, within `timeout`. What goes wrong is an inconclusive answer."""
    try:
        # A command has its own bound, and takes a moment longer to be killed at it.
        async with asyncio.timeout(None if check.kind == "command" else check.timeout):
            answer = await CHECKS[check.kind](check, asking)
    except LeaseLost:
        raise
    except TimeoutError:
        answer = Answer(Verdict.inconclusive, f"no answer within {format_duration(check.timeout)}")
    except Exception as error:
        answer = Answer(Verdict.inconclusive, f"could not be asked: {reason_of(error)}")
    return replace(answer, words=_short(answer.words))


def filled(text: str, variables: Mapping[str, str]) -> str:
    """The text with `$NAME` and `${NAME}` of known variables replaced; every other `$` stays, as PromQL uses it."""
    names = "|".join(map(re.escape, variables))
    return re.sub(rf"\$(?:\{{({names})\}}|({names})\b)", lambda found: variables[found[1] or found[2]], text)


# --- private


async def _http(check: CanaryCheck, asking: Asking) -> Answer:
    """2xx, with `expect` somewhere in the answer, passes; every other answer fails."""
    status, body = await _get(filled(check.http, asking.variables))
    said = f"{status}: {_short(body)}" if body.strip() else str(status)
    if not 200 <= status < 300:
        return Answer(Verdict.failed, said)
    if check.expect and check.expect not in body:
        return Answer(Verdict.failed, f"{said}, without {check.expect!r}")
    return Answer(Verdict.passed, said)


async def _command(check: CanaryCheck, asking: Asking) -> Answer:
    """Exit code 0 passes, 75 cannot tell, every other fails. One that does not end has not judged."""
    result = await asking.shell(check.command, check.timeout, {"CANARY_CHECK": check.name})
    said = result.tail.strip()
    if result.timed_out or result.exit_code is None:
        how = f"did not end within {format_duration(check.timeout)} and was killed"
        return Answer(Verdict.inconclusive, f"{how}: {said}" if said else how)
    how = f"killed by signal {-result.exit_code}" if result.exit_code < 0 else f"exit code {result.exit_code}"
    verdicts = {0: Verdict.passed, CANNOT_TELL: Verdict.inconclusive}
    return Answer(verdicts.get(result.exit_code, Verdict.failed), f"{how}: {said}" if said else how)


async def _prometheus(check: CanaryCheck, asking: Asking) -> Answer:
    """Every value of the query's answer lies within `min` and `max`. No value, or not a number: cannot tell.

    Source: Prometheus HTTP API v1, "Instant queries" (https://prometheus.io/docs/prometheus/latest/querying/api/).
    """
    base = filled(check.prometheus, asking.variables).rstrip("/")
    query = {"query": filled(check.query, asking.variables)}
    status, body = await _get(f"{base}/api/v1/query", query)
    values = _values(body)
    if values is None:
        return Answer(Verdict.inconclusive, f"no answer of a Prometheus: {status}: {_short(body)}")
    if not values or any(math.isnan(value) for value in values):
        return Answer(Verdict.inconclusive, "the query has no value")
    low, high = min(values), max(values)
    shown = f"{low:g}" if low == high else f"{low:g} to {high:g} ({len(values)} series)"
    if check.max is not None and high > check.max:
        return Answer(Verdict.failed, f"{shown}, above {check.max:g}")
    if check.min is not None and low < check.min:
        return Answer(Verdict.failed, f"{shown}, below {check.min:g}")
    return Answer(Verdict.passed, shown)


def _values(body: str) -> list[float] | None:
    """The numbers in the answer of an instant query; None where it is none."""
    try:
        answer: Any = json.loads(body)
        data = answer["data"] if answer["status"] == "success" else None
        if data is None:
            return None
        if data["resultType"] == "scalar":
            return [float(data["result"][1])]
        return [float(series["value"][1]) for series in data["result"]]
    except (ValueError, KeyError, TypeError, IndexError):
        return None


async def _get(url: str, params: Mapping[str, str] | None = None) -> tuple[int, str]:
    body = b""
    target = httpx2.URL(url).copy_merge_params(params) if params else httpx2.URL(url)
    async with http_client().stream("GET", target) as response:
        async for block in response.aiter_bytes(8192):
            body += block
            if len(body) >= MAX_BODY:
                break
        return response.status_code, body.decode("utf-8", "replace")


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= SHOWN else f"{words[:SHOWN]} …"


# To add a kind of check: a field of that name in model.CanaryCheck and in api/wire_canary.py, a function above that
# answers (it may raise anything, and need not bound its time), a line here, a row in docs/guide/canary.md.
CHECKS: Mapping[str, Callable[[CanaryCheck, Asking], Awaitable[Answer]]] = {
    "http": _http,
    "command": _command,
    "prometheus": _prometheus,
}
