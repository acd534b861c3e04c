"""The machine loses its power at any moment of a manager's life: the next comes to one known state, all of it whole.

A real manager's life is recorded once (support/story.py, support/recording.py), its disk is put together again as power
cuts can leave it (support/power.py says by which model), and a manager is started on each (support/outage.py): most
with instances and traffic in memory, some as they are. Not a sample, but all of the disks, for as long as it may take:
LONGSHORE_CHAOS_MINUTES=60 make chaos.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import recording
from support.envoy import needs_envoy
from support.kills import seeded
from support.outage import checked, checked_for_real
from support.power import LEFT
from support.story import Story, Teller

#: 0: a sample
MINUTES = float(os.environ.get("LONGSHORE_CHAOS_MINUTES", "0"))
#: of a sample; some 0.1 s each, and 2 s for each that is real
DISKS, REAL_ONES = 100, 2

pytestmark = [
    pytest.mark.slow,
    needs_envoy,
    pytest.mark.skipif(bool(recording.why_not()), reason=recording.why_not()),
]


@pytest.fixture
def quiet() -> Iterator[None]:
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def disks(story: Story, numbers: random.Random) -> Iterator[tuple[int, str]]:
    """Moments and ways the power can be cut, each once, in random order; a sample has as many of each way."""
    moments = [at for at in story.disk.promises() if at]
    every = [(at + after, how) for how in LEFT for at in moments for after in ((0, 1) if how == "nothing" else (0,))]
    numbers.shuffle(every)
    if MINUTES:
        until = time.monotonic() + MINUTES * 60
        for each in every:
            if time.monotonic() > until:
                return
            yield each
        return
    for how in LEFT:
        yield from [each for each in every if each[1] == how][: DISKS // len(LEFT)]


@pytest.mark.usefixtures("quiet")
def test_whatever_a_power_cut_leaves_the_next_manager_comes_to_one_known_state(tmp_path: Path) -> None:
    numbers = seeded()
    story = asyncio.run(Teller(tmp_path).tell())
    assert len(story.disk.promises()) > 300
    count = 0
    for count, (at, how) in enumerate(disks(story, numbers), start=1):
        real = numbers.random() < 0.02 if MINUTES else count <= REAL_ONES
        image, reached = story.disk.cut(at, LEFT[how], random.Random(at))
        image.lay(story.root)
        try:
            asyncio.run(checked_for_real(story, at) if real else checked(story, at))
        except BaseException as error:
            reached_by_then = "\n".join(f"{index}: {story.disk.what_is(index)}" for index in reached[-40:])
            error.add_note(f"the power was cut before change {at}, {story.disk.what_is(at - 1)}; {how} of what was not")
            error.add_note(f"promised had reached the disk, at last:\n{reached_by_then}")
            raise
    print(f"{count} disks, of {len(story.disk.changes)} changes with {len(story.disk.promises())} promises")
