"""Each kind of check of a candidate, asked for real: what passes, what fails, and who cannot tell."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from longshore.errors import LeaseLost
from longshore.model import CanaryCheck, Verdict
from longshore.proc import HookResult, run_shell
from longshore.rollout.analysis.checks import CHECKS, Answer, Asking, Record, ask, filled

PASSED, FAILED, OPEN = Verdict.passed, Verdict.failed, Verdict.inconclusive
VARIABLES = {"DEPLOYMENT_NAME": "shop", "DEPLOYMENT_VERSION": "2.0", "CANARY_WEIGHT": "25"}


@asynccontextmanager
async def answering(status: int, body: str) -> AsyncIterator[tuple[str, list[str]]]:
    """A server that always answers that: its URL, and the targets it was asked for."""
    targets: list[str] = []
    tasks: list[Any] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.current_task())
        head = await reader.readuntil(b"\r\n\r\n")
        targets.append(head.split(b" ")[1].decode())
        data = body.encode()
        writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: {len(data)}\r\nconnection: close\r\n\r\n".encode() + data)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", targets
    finally:
        server.close()
        await asyncio.gather(*tasks)
        await server.wait_closed()


async def no_shell(command: str, timeout_s: float, more: Mapping[str, str]) -> HookResult:
    raise AssertionError("no command was to be run")


async def asked(check: CanaryCheck, shell: Any = no_shell) -> Answer:
    return await ask(check, Asking(VARIABLES, shell))


@pytest.mark.parametrize(
    ("status", "body", "expect", "verdict", "words"),
    [
        (200, "all is well", "", PASSED, "200: all is well"),
        (204, "", "", PASSED, "204"),
        (200, "all is well", "well", PASSED, "200: all is well"),
        (200, "all is lost", "well", FAILED, "200: all is lost, without 'well'"),
        (302, "", "", FAILED, "302"),
        (503, "no orders", "", FAILED, "503: no orders"),
    ],
)
async def test_an_http_check(status: int, body: str, expect: str, verdict: Verdict, words: str) -> None:
    async with answering(status, body) as (url, targets):
        check = CanaryCheck("judge", http=f"{url}/judge?of=$DEPLOYMENT_VERSION&at=${{CANARY_WEIGHT}}", expect=expect)
        assert await asked(check) == Answer(verdict, words)
    assert targets == ["/judge?of=2.0&at=25"]


def vector(*values: float | str) -> str:
    result = [{"metric": {}, "value": [1.0, str(value)]} for value in values]
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}})


@pytest.mark.parametrize(
    ("status", "body", "bounds", "verdict", "words"),
    [
        (200, vector(0.5), {"max": 1.0}, PASSED, "0.5"),
        (200, vector(0.5, 0.75), {"max": 1.0}, PASSED, "0.5 to 0.75 (2 series)"),
        (200, vector(0.5, 1.5), {"max": 1.0}, FAILED, "0.5 to 1.5 (2 series), above 1"),
        (200, vector(0.5), {"min": 1.0}, FAILED, "0.5, below 1"),
        (200, vector(1.0), {"min": 1.0, "max": 1.0}, PASSED, "1"),
        (200, vector("+Inf"), {"max": 1.0}, FAILED, "inf, above 1"),
        (200, vector("NaN"), {"max": 1.0}, OPEN, "the query has no value"),
        (200, vector(), {"max": 1.0}, OPEN, "the query has no value"),
        (
            200,
            json.dumps({"status": "success", "data": {"resultType": "scalar", "result": [1.0, "3"]}}),
            {"max": 5.0},
            PASSED,
            "3",
        ),
        (400, json.dumps({"status": "error", "error": "parse error"}), {"max": 1.0}, OPEN, "no answer of a Prometheus"),
        (200, "<html>", {"max": 1.0}, OPEN, "no answer of a Prometheus: 200: <html>"),
        (200, "[]", {"max": 1.0}, OPEN, "no answer of a Prometheus: 200: []"),
    ],
)
async def test_a_prometheus_check(
    status: int, body: str, bounds: dict[str, float], verdict: Verdict, words: str
) -> None:
    query = 'errors{version="$DEPLOYMENT_VERSION", path=~"a$"} > 0'
    async with answering(status, body) as (url, targets):
        answer = await asked(CanaryCheck("orders", prometheus=f"{url}/prom/", query=query, **bounds))
    assert answer.verdict is verdict
    assert answer.words.startswith(words)
    parts = urlsplit(targets[0])
    assert parts.path == "/prom/api/v1/query"
    assert parse_qs(parts.query) == {"query": ['errors{version="2.0", path=~"a$"} > 0']}


@pytest.mark.parametrize("kind", ["http", "prometheus"])
async def test_nobody_there_is_no_verdict(kind: str) -> None:
    async with answering(200, "") as (url, _):
        pass
    answer = await asked(CanaryCheck("a", **{kind: url}, query="up", max=1.0))
    assert answer == Answer(OPEN, "could not be asked: connection refused")


async def test_an_answer_that_does_not_come_in_time_is_no_verdict() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert await asked(CanaryCheck("a", http=url, timeout=0.05)) == Answer(OPEN, "no answer within 50ms")


@pytest.mark.parametrize(
    ("line", "verdict", "words"),
    [
        ("true", PASSED, "exit code 0"),
        ("echo fine; echo really", PASSED, "exit code 0: fine really"),
        ("echo bad >&2; exit 2", FAILED, "exit code 2: bad"),
        ("exit 75", OPEN, "exit code 75"),
        ("kill -9 $$", FAILED, "killed by signal 9"),
        ("echo slow; sleep 60", OPEN, "did not end within 500ms and was killed: slow"),
        ('echo "$CANARY_CHECK"', PASSED, "exit code 0: smoke"),
    ],
)
async def test_a_command_check(line: str, verdict: Verdict, words: str, tmp_path: Path) -> None:
    async def shell(command: str, timeout_s: float, more: Mapping[str, str]) -> HookResult:
        return await run_shell(command, cwd=tmp_path, env={"PATH": "/usr/bin:/bin", **more}, timeout_s=timeout_s)

    timeout = 0.5 if "sleep" in line else 20.0
    assert await asked(CanaryCheck("smoke", command=line, timeout=timeout), shell) == Answer(verdict, words)


async def test_a_command_that_a_replaced_manager_may_not_run_any_more_ends_the_rollout_and_is_no_answer() -> None:
    async def shell(command: str, timeout_s: float, more: Mapping[str, str]) -> HookResult:
        raise LeaseLost(cause="taken over")

    with pytest.raises(LeaseLost):
        await asked(CanaryCheck("smoke", command="true"), shell)


async def test_a_long_answer_is_shown_in_part() -> None:
    async with answering(500, "x" * 10**6) as (url, _):
        answer = await asked(CanaryCheck("a", http=url))
    assert answer.verdict is FAILED
    assert len(answer.words) < 320


def test_only_known_variables_are_filled_in() -> None:
    text = "$DEPLOYMENT_NAME ${DEPLOYMENT_NAME} $DEPLOYMENT_NAMES $1 $$ $ {a=~'b$'}"
    assert filled(text, VARIABLES) == "shop shop $DEPLOYMENT_NAMES $1 $$ $ {a=~'b$'}"


def test_a_record_fails_at_its_limit_and_is_open_while_the_last_answer_says_nothing() -> None:
    record = Record(CanaryCheck("a", command="x", failure_limit=2))
    verdicts = []
    for verdict in (OPEN, PASSED, FAILED, OPEN, PASSED, FAILED):
        record = record.after(Answer(verdict, "so"))
        verdicts.append(record.verdict)
    assert verdicts == [OPEN, PASSED, PASSED, OPEN, PASSED, FAILED]
    assert str(record) == "check a: passed 2, failed 2 (of 2), last: so"
    assert Record(CanaryCheck("a", command="x")).verdict is OPEN


def test_every_kind_of_a_check_is_in_the_registry() -> None:
    checks = [CanaryCheck("a", **{kind: "x"}) for kind in CHECKS]
    assert [check.kind for check in checks] == list(CHECKS)
