"""When an instance is ready, and when it is not any more."""

from __future__ import annotations

import pytest

from longshore.health.board import UNKNOWN, Board
from longshore.model import HealthCheck
from support.engine import Clock

RULE = HealthCheck(healthy_threshold=2, unhealthy_threshold=3)


class Notebook(Board):
    def __init__(self) -> None:
        self.clock, self.told = Clock(), list[str]()
        super().__init__(self.clock, self.told.append)

    def probe(self, results: str, id: str = "shop-1-0") -> list[bool | None]:
        """`ready` after each result: + passed, - failed."""
        seen: list[bool | None] = []
        for result in results:
            self.record(id, "shop", RULE, ok=result == "+", message=result, duration_s=0.1)
            seen.append(self.of(id).ready)
        return seen


@pytest.mark.parametrize(
    ("results", "ready"),
    [
        ("+", [True]),
        ("-", [False]),
        ("+--", [True, True, True]),
        ("+---", [True, True, True, False]),
        ("+--+--", [True] * 6),
        ("-+", [False, False]),
        ("-++", [False, False, True]),
        ("-+-++", [False, False, False, False, True]),
    ],
)
def test_the_first_result_decides_alone_and_then_the_thresholds(results: str, ready: list[bool]) -> None:
    assert Notebook().probe(results) == ready


def test_only_a_change_of_readiness_is_told() -> None:
    board = Notebook()
    board.probe("+++--+---++")
    assert board.told == ["shop"] * 3


def test_since_is_when_readiness_last_changed() -> None:
    board = Notebook()
    board.probe("+")
    began = board.clock.time
    board.clock.time += 10
    board.probe("+-")
    assert board.of("shop-1-0").since == began
    board.probe("--")
    assert board.of("shop-1-0").since == began + 10


def test_a_mark_holds_without_any_threshold() -> None:
    board = Notebook()
    board.probe("+--")
    board.mark("shop-1-0", "shop", ready=True, message="ready")
    assert board.probe("--") == [True, True]
    board.mark("shop-1-0", "shop", ready=False, message="it exited with code 3")
    assert board.of("shop-1-0").ready is False
    assert board.of("shop-1-0").message == "it exited with code 3"


def test_what_is_forgotten_is_unknown_and_not_muted_any_more() -> None:
    board = Notebook()
    board.probe("+")
    board.muted.add("shop-1-0")
    board.forget("shop-1-0")
    assert board.of("shop-1-0") is UNKNOWN
    assert not board.muted


def test_instances_are_judged_each_by_itself() -> None:
    board = Notebook()
    board.probe("+---", "shop-1-0")
    assert board.probe("+", "shop-1-1") == [True]
    assert board.of("shop-1-0").ready is False
