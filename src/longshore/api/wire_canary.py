"""The part of a deploy's body that is about canaries."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from longshore.api.groups import Field, Group, ListOf
from longshore.api.kinds import Choice, Count, Duration, Either, Flag, Number, Text, check_http_url
from longshore.model import CanaryCheck, CanaryStep

_URL = Text(r"https?://\S+", "it must be such as http://localhost:9090", check=check_http_url)
_BOUND = Number(-1e300, 1e300)

#: which fields belong to one kind of check alone
_ONLY_OF = {"expect": "http", "query": "prometheus", "min": "prometheus", "max": "prometheus"}


def _check(**given: Any) -> CanaryCheck:
    kinds = [kind for kind in ("http", "command", "prometheus") if kind in given]
    if len(kinds) != 1:
        raise ValueError(f"give exactly one of http, command and prometheus, not {' and '.join(kinds) or 'none'}")
    strange = [name for name, kind in _ONLY_OF.items() if name in given and kind != kinds[0]]
    if strange:
        raise ValueError(f"{', '.join(strange)} means nothing to a check of kind {kinds[0]}; leave it out")
    check = CanaryCheck(**given)
    if check.prometheus and not check.query:
        raise ValueError("a Prometheus is asked something: give query")
    if check.prometheus and check.min is None and check.max is None:
        raise ValueError("give min or max, or both: what the values of query are held to")
    if check.min is not None and check.max is not None and check.min > check.max:
        raise ValueError(f"min must not be above max, {check.min:g} is above {check.max:g}")
    return check


def _checks(checks: list[CanaryCheck]) -> tuple[CanaryCheck, ...]:
    names = [check.name for check in checks]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"every check needs a name of its own; {', '.join(twice)} is there more than once")
    return tuple(checks)


def _steps(steps: list[CanaryStep]) -> tuple[CanaryStep, ...]:
    weights = [step.weight for step in steps]
    if any(later <= earlier for earlier, later in pairwise(weights)):
        raise ValueError(f"weights must grow from step to step, not {', '.join(map(str, weights))}")
    if weights[-1] != 100:
        raise ValueError(f"the last weight must be 100, not {weights[-1]}: the new version ends with all the traffic")
    return tuple(steps)


_STEP = Group(
    {
        "weight": Field(Count(1, 100), "Percent of the requests the new version gets.", 100),
        "pause": Field(
            Either(Duration(), (("manual", "manual"),)),
            "How long it is watched at that weight; `manual` waits for promote or resume.",
            "30s",
        ),
    },
    require=("weight",),
    make=CanaryStep,
)
_CHECK = Group(
    {
        "name": Field(
            Text(r"[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?", "use 1 to 63 of a-z, 0-9, _ and -", longest=63),
            "What it is called where it is told of.",
            "smoke",
        ),
        "http": Field(_URL, "URL to GET; an answer of 2xx passes.", "http://localhost:9000/judge"),
        "expect": Field(Text(longest=1000, lines=True), "Of `http`: what the answer must contain.", "ok"),
        "command": Field(
            Text(longest=16384, lines=True), "Shell line; exit code 0 passes, 75 cannot tell.", "./smoke-test"
        ),
        "prometheus": Field(_URL, "URL of a Prometheus.", "http://localhost:9090"),
        "query": Field(
            Text(longest=16384, lines=True),
            "Of `prometheus`: what it is asked.",
            'rate(orders_failed_total{version="$DEPLOYMENT_VERSION"}[1m])',
        ),
        "min": Field(_BOUND, "Of `prometheus`: no value may be below.", 0.99),
        "max": Field(_BOUND, "Of `prometheus`: no value may be above.", 0.01),
        "interval": Field(Duration(least=0.1), "Between two askings.", "10s"),
        "timeout": Field(Duration(least=0.01, most=3600.0), "Bound on one asking.", "5s"),
        "failure_limit": Field(Count(1, 1000), "Failing answers at which the new version is failed.", 1),
    },
    require=("name",),
    make=_check,
)
_ANALYSIS = Group(
    {
        "min_requests": Field(Count(1, 10**9), "Requests each side must have answered for a pass.", 50),
        "max_error_rate_increase": Field(Number(0, 100), "Percentage points the error rate may lie above.", 1.0),
        "max_3xx_4xx_increase": Field(
            Number(0, 100), "Percentage points the share of 4xx, and that of 3xx, may lie above; 100 is no limit.", 5.0
        ),
        "max_latency_ratio": Field(
            Number(1, 1000), "How many times the stable version's p50, p95 and p99 latency is allowed.", 1.5
        ),
        "min_latency_increase": Field(Duration(), "Latency differences below this are noise.", "50ms"),
        "false_alarm_rate": Field(
            Number(0.0001, 0.5), "At most this share of canaries within the limits is failed by the figures.", 0.05
        ),
        "on_inconclusive": Field(
            Choice(("pause", "continue", "abort")), "What a watch does that ends without a verdict.", "pause"
        ),
        "checks": Field(
            ListOf(_CHECK, longest=20, make=_checks),
            "Checks of your own, asked while the new version is watched.",
            [{"name": "smoke", "command": "./smoke-test", "interval": "30s"}],
        ),
    }
)
CANARY = Group(
    {
        "steps": Field(
            ListOf(_STEP, least=1, make=_steps),
            "Growing weights; the last is 100.",
            [{"weight": 10, "pause": "30s"}, {"weight": 100}],
        ),
        "analysis": Field(_ANALYSIS, "What the new version is held to, against the stable one in the same window."),
        "sticky": Field(Flag(), "Keep each client on the version it met first (a cookie).", False),
    }
)
