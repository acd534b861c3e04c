"""At which writes of a recovery the second kill comes, in tests that kill at every write of what is recovered."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count

#: each so-many-th; `make chaos` takes every one
STRIDE = int(os.environ.get("LONGSHORE_CHAOS_STRIDE", "3"))


def second_kills(first: int) -> Iterator[int]:
    """Without an end: the last one comes after the recovery is over. From one first kill to the next they begin at
    another write, so that in the end there was a kill at each, if not after each of the first ones."""
    return count(1 + first % STRIDE, STRIDE)
