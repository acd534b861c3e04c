"""Whether something grows: a slope that single samples cannot bend, with what is known of it.

Theil-Sen: the median of the slopes between all pairs of samples (Theil 1950; Sen, "Estimates of the regression
coefficient based on Kendall's tau", JASA 63, 1968, whose section 6 has the interval). Up to 29 % of the samples may be
anything at all before it is led astray, so a rollout that is still tidying up after itself does not look like a leak.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist, median
from typing import TypeVar

Number = TypeVar("Number", int, float)

#: of the interval, both sides together
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Growth:
    """Per hour; low and high: where the slope is with 95 % confidence, as far as so many samples can tell."""

    slope: float
    low: float
    high: float


def growth(samples: Sequence[tuple[float, float]]) -> Growth:
    """samples: (seconds, value), three or more at different times. Raises ValueError for fewer.

    Worked: 10 at 0 s, 10 at 36 s, 11 at 72 s: slopes 0, 50 and 100 an hour, so 50; surely no more than from 0 to 100.
    """
    slopes = sorted(3600 * (y - x) / (b - a) for (a, x), (b, y) in combinations(samples, 2) if b != a)
    if len(samples) < 3 or not slopes:
        raise ValueError(f"{len(samples)} samples say nothing of growth: three are needed, at different times")
    number = len(samples)
    spread = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * math.sqrt(number * (number - 1) * (2 * number + 5) / 18)
    low = max(0, round((len(slopes) - spread) / 2) - 1)
    high = min(len(slopes) - 1, round((len(slopes) + spread) / 2))
    return Growth(median(slopes), slopes[low], slopes[high])


def least(looks: Sequence[Mapping[str, Number]]) -> dict[str, Number]:
    """The least of each number; one that a look does not name was 0 in it."""
    names = dict.fromkeys(name for look in looks for name in look)
    return {name: min(look.get(name, 0) for look in looks) for name in names}
