"""How strongly counts of two versions speak against the candidate, at whatever moment one looks.

The candidate is bet against, with a stake of 1 and at odds that are fair, or worse, for whoever bets while the
candidate keeps to its limit. Then the wealth that results is an e-process: the chance that it *ever* reaches K is at
most 1/K (Ville's inequality), so it may be looked at as often as one likes, and stopped at any time.

Sources
  J. Ville, Étude critique de la notion de collectif (1939): the inequality.
  I. Waudby-Smith, A. Ramdas, "Estimating means of bounded random variables by betting", J. R. Stat. Soc. B 86 (2024),
    section 4: the capital process, a product of 1 + bet x (outcome - limit).
  R. J. Turner, A. Ly, P. D. Grünwald, "Generic E-variables for exact sequential k-sample tests that allow for optional
    stopping", J. Stat. Plan. Inference 230 (2024), theorem 1: blocks of two samples of any sizes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import exp, log, log1p

#: bets as shares of the largest possible one: what fits a candidate that fails altogether, down to one a little worse
BETS = tuple(0.9 * 0.5**k for k in range(7))
#: of what the first block's base rate is guessed from, before there is a past: half a hit in 50
GUESSED_HITS, GUESSED_TRIALS = 0.5, 50.0


@dataclass(frozen=True, slots=True)
class Counts:
    """One version in one block of time: `hits` of `trials` had whatever is held against it."""

    hits: int
    trials: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """Evidence for: the candidate's share of hits is more than `margin` (0-1) above the stable version's.

    Let p, s be the shares of hits of candidate and stable in a block with n and m trials, r = n / (n + m), b any guess
    of s made before the block, and B >= 0 a bet. Each hit of the candidate multiplies the wealth by
    1 + B (1 - b - margin) / r, each other trial of it by 1 - B (b + margin) / r; each hit of the stable version by
    1 - B (1 - b) / (1 - r), each other by 1 + B b / (1 - r). The mean of those n + m factors has the expectation
    1 + B (p - s - margin), and a product of independent factors is at most the power of their mean (arithmetic against
    geometric mean). So while p <= s + margin the wealth grows in no block on average, whatever p, s, b, B and the sizes
    are, and even where p and s change from one request to the next, as long as their means keep to the limit.

    Several bets run side by side with an equal part of the stake each; their mean is an e-process as well.
    """

    margin: float = 0.0
    #: logarithm of the wealth of each bet: those around the base rate of the past, then those around a half
    wealth: tuple[float, ...] = (0.0,) * (2 * len(BETS))
    hits: int = 0
    trials: int = 0

    def after(self, candidate: Counts, stable: Counts) -> Evidence:
        """With one more block. One in which either version had no trial says nothing: join it to the next."""
        if not candidate.trials or not stable.trials:
            return self
        guess = (self.hits + GUESSED_HITS) / (self.trials + GUESSED_TRIALS)
        gains = (
            *_gains(candidate, stable, min(guess, 1.0 - self.margin), self.margin),
            *_gains(candidate, stable, min(0.5, 1.0 - self.margin), self.margin),
        )
        return replace(
            self,
            wealth=tuple(before + gain for before, gain in zip(self.wealth, gains, strict=True)),
            hits=self.hits + candidate.hits + stable.hits,
            trials=self.trials + candidate.trials + stable.trials,
        )

    @property
    def e_value(self) -> float:
        """The wealth, from a stake of 1. A candidate within its limit ever gets to K with a chance of at most 1/K."""
        most = max(self.wealth)
        total = log(sum(exp(each - most) for each in self.wealth) / len(self.wealth)) + most
        return exp(min(total, 700.0))


def _gains(candidate: Counts, stable: Counts, base: float, margin: float) -> list[float]:
    """Logarithm of what a block multiplies the wealth of each of BETS by."""
    share = candidate.trials / (candidate.trials + stable.trials)
    limit = base + margin
    largest = min(share / limit, (1.0 - share) / (1.0 - base)) if base < 1.0 else share / limit
    gains = []
    for part in BETS:
        ours, theirs = part * largest / share, part * largest / (1.0 - share)
        gain = (candidate.trials - candidate.hits) * log1p(-ours * limit)
        gain += (stable.trials - stable.hits) * log1p(theirs * base)
        if candidate.hits:
            gain += candidate.hits * log1p(ours * (1.0 - limit))
        if stable.hits:
            gain += stable.hits * log1p(-theirs * (1.0 - base))
        gains.append(gain)
    return gains
