"""What all formats of an endpoint list share: who gets how much, in whole numbers, and whose file it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm

from longshore.routers.base import Target, TargetPool, Traffic

#: in the first lines of each file: one without it is somebody else's, and is left alone
MARK = "Written by Longshore"


@dataclass(frozen=True, slots=True)
class Share:
    """What one target gets of all requests."""

    target: Target
    pool: TargetPool
    share: Fraction


def header(name: str) -> str:
    """One line for whoever opens the file."""
    return f"{MARK} for the deployment {name}. Do not edit: it is replaced with each change."


def shares(traffic: Traffic | None) -> tuple[Share, ...]:
    """The targets that get requests, stable ones first; together they get all of them. Empty: nothing serves.

    A pool without targets gets nothing whatever its weight is: the other one has it all.
    """
    if traffic is None or traffic.hold is not None:
        return ()
    weighted = [(traffic.stable, 100 - traffic.weight), (traffic.candidate, traffic.weight)]
    serving = [(pool, weight) for pool, weight in weighted if pool is not None and pool.targets]
    if not any(weight for _, weight in serving):
        serving = [(pool, 1) for pool, _ in serving]
    whole = sum(weight for _, weight in serving)
    return tuple(
        Share(target, pool, Fraction(weight, whole * len(pool.targets)))
        for pool, weight in serving
        if weight
        for target in sorted(pool.targets)
    )


def exact(given: Sequence[Fraction]) -> list[int]:
    """The smallest whole numbers in exactly these proportions. Worked: 95 % on two, 5 % on one: 19, 19, 2."""
    if not given:
        return []
    whole = lcm(*(share.denominator for share in given))
    numbers = [int(share * whole) for share in given]
    divisor = gcd(*numbers)
    return [number // divisor for number in numbers]


def within(given: Sequence[Fraction], most: int) -> list[int]:
    """Whole numbers from 1 to `most` in proportions as close to these as can be.

    Worked: 95 % on one, 5 % on ten, at most 256: 190 and ten times 1.
    """
    numbers = exact(given)
    if not numbers or max(numbers) <= most:
        return numbers
    largest, wanted = max(numbers), [float(share) for share in given]

    def scaled(top: int) -> list[int]:
        return [max(1, round(number * top / largest)) for number in numbers]

    def error(top: int) -> float:
        tried = scaled(top)
        return max(abs(number / sum(tried) - share) for number, share in zip(tried, wanted, strict=True))

    return scaled(min(range(1, most + 1), key=error))


def address(target: Target) -> str:
    return f"[{target.host}]:{target.port}" if ":" in target.host else f"{target.host}:{target.port}"
